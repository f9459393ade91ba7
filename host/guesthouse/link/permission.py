"""The exact remedy where the system does not let the user open a port."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

UDEV_RULE = "/etc/udev/rules.d/70-guesthouse.rules"


@dataclass(frozen=True, slots=True)
class PortAccess:
    """What decides who may open a port: its group and mode, the user and the user's groups."""

    user: str
    group: str
    group_may: bool  # the mode lets the group read and write
    in_database: bool  # the system's group file lists the user
    in_session: bool  # this process has the group
    usb_vendor: str = ""  # four hex digits, "" where it is no USB device


def permission_remedy(path: str) -> str:
    """The commands that give the user the right to open ``path`` on this system."""
    if sys.platform == "win32":
        return "close the program that uses the port"
    if not sys.platform.startswith("linux"):
        return f"look at who may open it: ls -l {path}"
    try:
        return remedy_for(path, _look(path))
    except (OSError, KeyError):
        return f"look at who may open it: ls -l {path}"


def remedy_for(path: str, access: PortAccess) -> str:
    """The remedy for what is known of a port on Linux."""
    if access.group_may and access.group != "root":
        if access.in_session:
            return f"its group {access.group} is yours already: look at ls -l {path}"
        if access.in_database:
            return (
                f"you are in its group {access.group}, but this session began before that: "
                f"log out and in again (or, for this terminal: newgrp {access.group})"
            )
        return (
            f"it belongs to the group {access.group}: sudo usermod -aG {access.group} "
            f"{access.user} ; then log out and in again"
        )
    match = f'ATTRS{{idVendor}}=="{access.usb_vendor}", ' if access.usb_vendor else ""
    return (
        f"no group may open it; a udev rule gives it to the user at the screen: put "
        f'SUBSYSTEM=="tty", {match}MODE="0660", TAG+="uaccess" into {UDEV_RULE}, then '
        f"sudo udevadm control --reload && sudo udevadm trigger, and connect the board again"
    )


def _look(path: str) -> PortAccess:
    import grp
    import pwd

    status = Path(path).stat()
    user = pwd.getpwuid(os.getuid())
    group = grp.getgrgid(status.st_gid)
    return PortAccess(
        user=user.pw_name,
        group=group.gr_name,
        group_may=status.st_mode & 0o060 == 0o060,
        in_database=user.pw_name in group.gr_mem or user.pw_gid == status.st_gid,
        in_session=status.st_gid in (*os.getgroups(), os.getegid()),
        usb_vendor=_usb_vendor(path),
    )


def _usb_vendor(path: str) -> str:
    device = Path("/sys/class/tty") / Path(os.path.realpath(path)).name / "device"
    for folder in (device / "..", device / "../.."):
        try:
            return (folder / "idVendor").read_text().strip()
        except OSError:
            continue
    return ""
