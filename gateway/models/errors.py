"""What can be wrong with a model file or with what it is asked to render."""


class ModelError(Exception):
    """The model file is damaged, cut short or not what it claims to be; the message says where."""


class ModelUnsupported(ModelError):
    """The file is sound, but of a kind this engine does not compute; the message names it."""


class ChatTemplateRefused(ModelError):
    """The model's chat template does not take these messages, or is not one that can be run."""


class ModelUnfetchable(ModelError):
    """A reference model is unknown, or the package index cannot be reached for it."""
