"""The errors a user can meet: each is one clear sentence that names the file and the way out."""

from __future__ import annotations

LONGEST = 200
"""Characters of a file's value, or of what a foreign error says, in a sentence of ours."""


class ZoomMILError(Exception):
    """Base of every error this package raises on purpose."""


def short(value: object, most: int = LONGEST) -> str:
    """A value of a file as far as it fits into a sentence of ours, on one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[:most]} …"


def first_line(error: BaseException) -> str:
    """What a foreign error says, cut to the one line that fits into a sentence of ours."""
    return short(next(iter(str(error).splitlines()), "")) or type(error).__name__


class FileError(ZoomMILError):
    """A file or folder cannot be read or written."""


class SlideError(ZoomMILError):
    """A slide cannot be opened or read."""


class UnsupportedSlideError(SlideError):
    """The file is not a slide that any reader understands."""


class MissingResolutionError(SlideError):
    """The slide does not say how large its pixels are (µm/px)."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} does not state its resolution; give it in µm per pixel with --mpp (or in the Slide dock)"
        )


class MagnificationError(ZoomMILError):
    """A slide or model has no such magnification."""


class OverlapError(ZoomMILError):
    """Patches cannot overlap like this."""


class NoTissueError(ZoomMILError):
    """No tissue was found where it was looked for."""


class EncoderError(ZoomMILError):
    """An encoder cannot be built, loaded or matched to a model."""


class ConsentError(ZoomMILError):
    """A model was trained on an encoder that only the user may name.

    Attributes
    ----------
    encoder, encoder_hash : str
        As the model folder states them.
    from_hub : bool
        Whether it is fetched from the network; else it is a file, or a folder.
    """

    def __init__(self, model: str, encoder: str, encoder_hash: str, from_hub: bool) -> None:
        self.encoder, self.encoder_hash, self.from_hub = encoder, encoder_hash, from_hub
        if from_hub:
            why = f"{encoder}, which is not part of this package: it is fetched when you allow it"
            way = f"--encoder {encoder} (encoder=… in Python, a button in the dock)"
        else:
            why = f"{_short(encoder)}, a file or folder: a model chooses neither, since TorchScript is code"
            way = "give it with --encoder (encoder=… in Python, a button in the dock) if you trust it"
        super().__init__(f"{model} was trained on the encoder {why}; {way}")


class UnknownEncoderError(ConsentError):
    """Nothing states which encoder features are of, or a model was trained on: the user has to name it.

    Attributes
    ----------
    encoder : str
        One that may be meant; empty if there is none.
    """

    def __init__(self, message: str, encoder: str = "") -> None:
        self.encoder, self.encoder_hash, self.from_hub = encoder, "", False
        ZoomMILError.__init__(self, message)


def _short(name: str) -> str:
    """A name that anybody may have written, on one line."""
    return repr(name if len(name) <= 80 else f"{name[:80]}…")


class StoreError(ZoomMILError):
    """A feature store is damaged or belongs to another slide or encoder."""


class FeatureFileError(StoreError):
    """A feature file of another tool cannot be used, or is not of this slide or for this model."""


class ModelError(ZoomMILError):
    """A model cannot be loaded, or was made for other inputs."""


class CohortError(ZoomMILError):
    """A cohort table is malformed or names slides that are not there.

    Attributes
    ----------
    faults : tuple of str
        All that is wrong with it, where its lines are told one by one.
    """

    def __init__(self, message: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class AnnotationError(ZoomMILError):
    """Annotations are malformed, or an edit makes no sense."""


class JobError(ZoomMILError):
    """A job failed for a reason outside the package, such as device memory."""


class DisplayError(ZoomMILError):
    """A window was asked for where none can be shown."""
