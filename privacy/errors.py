"""What can fail around keys and seals. Every message is one line and says what to do."""


class PrivacyError(Exception):
    """Root of this package's errors."""


class KeyringMissing(PrivacyError):
    """No keyring is in the directory."""


class KeyringExists(PrivacyError):
    """A keyring is in the directory already."""


class KeyringLocked(PrivacyError):
    """The passphrase or key file is not this keyring's."""


class KeyringTampered(PrivacyError):
    """The keyring was changed by something that does not hold its key."""


class KeyringUnusable(PrivacyError):
    """The keyring's file cannot be read or written."""


class KeyUnknown(PrivacyError):
    """The keyring holds no such key."""


class KeyDestroyed(KeyUnknown):
    """The key was destroyed, and what it protected with it."""


class KeyInUse(PrivacyError):
    """The key is active; what was asked is for keys that are not."""


class TransitionForbidden(PrivacyError):
    """A key in this state cannot go to that one."""


class ChangeForbidden(PrivacyError):
    """Keys may not be changed from here."""


class DestructionUnconfirmed(PrivacyError):
    """Destroying a key takes two security principals, within the window of the first."""


class BackupUnusable(PrivacyError):
    """A backup does not open with these shares or this recovery key, or is damaged."""


class LibraryMissing(PrivacyError):
    """A library of an extra is not installed; the message names the extra."""


class CustodianUnusable(PrivacyError):
    """The passphrase or key file cannot serve as a custodian."""


class SignatureInvalid(PrivacyError):
    """A signature does not cover the message under the key."""


class ModelUnsealable(PrivacyError):
    """What was given cannot be sealed; the message names it."""


class SealMissing(PrivacyError):
    """No sealed model of that name is there."""


class SealBroken(PrivacyError):
    """A sealed file is not what was sealed; the message says what does not hold."""


class SealUnwritable(PrivacyError):
    """A sealed file cannot be written."""


class AssetUnknown(PrivacyError):
    """The sealed model has no asset of that name."""


class WeightsUndelivered(PrivacyError):
    """The weights' receiver left, or did not take them in time."""


class FrameInvalid(PrivacyError):
    """Bytes between broker and client break the frame format."""


class BrokerGone(PrivacyError):
    """The key broker no longer answers."""
