# SPDX-License-Identifier: Apache-2.0
"""The exceptions of the package. All derive from ValueError; the text is one line: FILE: what is wrong; what to do."""


class BitsFusionError(ValueError):
    """Base class of the exceptions of this package."""


class FormatError(BitsFusionError):
    """A file is damaged, has another format or version, or does not belong to the model that its header describes."""


class ComponentError(BitsFusionError):
    """A component that is needed is not in the file and was not passed."""


class TimestepError(BitsFusionError):
    """The file has no cached time features for a timestep."""
