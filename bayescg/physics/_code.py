"""Numbers that compiled code stores where it cannot raise, each with a text that says what happened and what to do."""

import enum


class MessageCode(enum.IntEnum):
    """Base of enumerations whose members are written `NAME = number, message`."""

    message: str

    def __new__(cls, code: int, message: str) -> "MessageCode":
        """Make the member: an integer that carries its message."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.message = message
        return member

    def __str__(self) -> str:
        """The message."""
        return self.message
