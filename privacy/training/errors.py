"""What can fail around private training. Every message is one line and says what to do."""

from privacy.errors import PrivacyError


class TrainingError(PrivacyError):
    """Root of this package's errors."""


class TrainingUnavailable(TrainingError):
    """A library of the `[train]` extra is not installed."""


class ConfigInvalid(TrainingError):
    """A training configuration says something that cannot be run."""


class ModuleUnsupported(TrainingError):
    """A layer has no per-sample gradient; the message names it and what to use instead."""


class OptimizerUnsupported(TrainingError):
    """The optimizer does not fit the model, or steps in a way that cannot be made private."""


class LoaderNotPoisson(TrainingError):
    """Batches come from something other than the run's Poisson sampler."""


class BatchMixed(TrainingError):
    """The per-sample gradients are not those of the records that were drawn."""


class ModelDiverged(TrainingError):
    """The model's parameters are not finite."""


class PlanInvalid(TrainingError):
    """The privacy parameters of a run make no sense."""


class BudgetExhausted(TrainingError):
    """The dataset's budget does not cover the run."""


class AccountUnknown(TrainingError):
    """The ledger has no such budget."""


class RunUnknown(TrainingError):
    """The ledger has no such run."""


class RunSettled(TrainingError):
    """The run was settled: it makes no more steps."""


class LeaseFenced(TrainingError):
    """Another process took the run over."""


class PlanExhausted(TrainingError):
    """Every step of the run's plan was leased."""


class DatasetChanged(TrainingError):
    """The dataset is not the one that the run began with."""


class LedgerUnavailable(TrainingError):
    """The ledger's database cannot be used."""


class LedgerTampered(TrainingError):
    """The ledger was changed from outside; the message names the entry."""


class LedgerRolledBack(TrainingError):
    """The ledger is older than what was written with it."""


class CheckpointMissing(TrainingError):
    """The run has no checkpoint."""


class CheckpointBroken(TrainingError):
    """A checkpoint is not what was sealed, or another run's."""


class CertificateInvalid(TrainingError):
    """A certificate does not verify; the message says what does not hold."""


class MechanismBroken(TrainingError):
    """Noise, clipping or sampling is not what the plan says."""


class AuditBlind(TrainingError):
    """The audit's positive control found nothing, so its silence proves nothing."""
