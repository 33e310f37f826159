"""The papers' test beds and the models that ship, each a runnable experiment."""
