"""Parts of docks that keep their place while what they say changes."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QApplication, QLabel

from napari_zoommil.jobs import Progress
from napari_zoommil.viewer.docks.page import Page
from napari_zoommil.viewer.docks.parts import Act, Sentence

SHORT = "0.31 mm²"
LONG = "0.31 mm² of tissue: this takes a while, and cells appear as they are found"


@pytest.fixture
def page(qtbot) -> Page:
    page = Page()
    qtbot.addWidget(page)
    page.resize(320, 600)
    page.show()
    qtbot.waitExposed(page)
    return page


def below(page: Page, *widgets) -> QLabel:
    """Something below these on the page."""
    last = QLabel("last")
    for widget in (*widgets, last):
        page.column.addWidget(widget)
    page.column.addStretch(1)
    QApplication.processEvents()
    return last


def test_a_sentence_of_two_lines_moves_nothing_below_it(page, qtbot) -> None:
    sentence = Sentence(lines=2)
    last = below(page, sentence)
    places = set()
    for text in ("", SHORT, LONG, "<b>rich</b>"):
        sentence.setText(text)
        qtbot.wait(30)
        places.add(last.y())
    assert len(places) == 1
    one_line = Sentence()
    page.column.insertWidget(0, one_line)
    one_line.setText(LONG)
    qtbot.wait(30)
    assert last.y() > places.pop() + 1.5 * one_line.fontMetrics().lineSpacing(), "others grow as before"


def test_what_is_below_the_main_button_stays_in_its_place(page, qtbot) -> None:
    act = Act("Detect", lambda: None, lambda: None)
    last = below(page, act)
    place = last.y()
    act.show_running(True)
    act.show_progress(Progress(3, 36, "slide.svs: 3 of 36 tiles, 1,234 cells", seconds_left=34))
    qtbot.wait(30)
    assert act.bar.isVisible() and last.y() == place
    act.show_running(False)
    act.note.setText("Done in 3 s on cpu")
    qtbot.wait(30)
    assert act.bar.isHidden() and last.y() == place


def test_a_page_ends_with_its_content(page) -> None:
    """Text that wraps at a width which Qt guesses would be three times as high."""
    rich = QLabel("&nbsp;&nbsp; ".join(["━&nbsp;exclusive&nbsp;recall"] * 2))
    rich.setWordWrap(True)
    rich.setSizePolicy(Sentence().sizePolicy())
    last = below(page, *[Sentence(LONG * 3) for _ in range(4)], rich)
    page.resize(320, last.geometry().bottom() // 2)
    QApplication.processEvents()
    body = page.widget()
    assert page.verticalScrollBar().maximum() > 0
    assert body.height() == body.heightForWidth(body.width())
    assert body.height() - last.geometry().bottom() < 30


def test_a_part_out_of_sight_is_brought_up(page, qtbot) -> None:
    last = below(page, *[Sentence(LONG * 3) for _ in range(12)])
    page.resize(320, 200)
    QApplication.processEvents()
    assert last.visibleRegion().isEmpty()
    page.scroll_to(last)
    qtbot.waitUntil(lambda: last.visibleRegion().boundingRect() == last.rect())
