"""What can be wrong with a model file or with what it is asked to render."""


class ModelError(Exception):
    """The model file is damaged, cut short or not what it claims to be; the message says where."""


class ModelUnsupported(ModelError):
    """The file is sound, but of a kind this engine does not compute; the message names it."""


class ChatTemplateRefused(ModelError):
    """The model's chat template does not take these messages, or is not one that can be run."""


class ModelUnfetchable(ModelError):
    """The package index cannot be reached for a reference model, or does not give it."""


class ModelUnknown(ModelError):
    """There is no reference model of that name."""


class ModelUnreadable(ModelError):
    """The file that is named as a model's is not there, or cannot be read."""


class CompressionImpossible(ModelError):
    """What is asked for cannot be made of this model or this text; the message says why."""


class CompressionUnavailable(ModelError):
    """What compression needs is not installed; the message names the extra."""
