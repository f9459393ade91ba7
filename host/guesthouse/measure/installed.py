"""Bringing a set of guests to a board, starting them together, and taking them away again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.guests.image import Image
from guesthouse.link.client import Client
from guesthouse.link.deploy import deploy

_GONE_S = 5.0


class Installed:
    """Guests that are on a board for a while. Made empty; ``install`` brings them, stopped.

    The client must have a complete model (``hello`` and a summary).
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.images: list[Image] = []

    def install(
        self, images: Sequence[Image], each: Callable[[Image], None] = lambda image: None
    ) -> None:
        """Send every image; ``each`` hears of it before.

        Raises GuesthouseError (REFUSED) before anything is sent where the board has another guest
        of one of the names: nobody's program is replaced.
        """
        again = self._refuse_clashes(images)
        for image in images:
            each(image)
            if image.name in again:  # left there by an earlier run: its counters begin anew
                self._client.command(wire.VERB_REMOVE, {"g": image.name})
            self.images.append(image)
            deploy(self._client, image, start=False)

    def start(self) -> None:
        """Start all, in their order."""
        for image in self.images:
            self._client.command(wire.VERB_START, {"g": f"{image.name}.0"})

    def remove(self) -> None:
        """Take them off the board, and wait until it has said that they are gone.

        A board that has gone itself takes them along.
        """
        names = {image.name for image in self.images}
        with contextlib.suppress(GuesthouseError):
            for image in self.images:
                self._client.command(wire.VERB_REMOVE, {"g": image.name})
            end = time.monotonic() + _GONE_S * self._client.patience
            # Replies overtake records: the model may still have them for a moment.
            while time.monotonic() < end and any(
                one.image in names for one in self._client.model.instances.values()
            ):
                self._client.poll(0.02)
        self.images = []

    def _refuse_clashes(self, images: Sequence[Image]) -> set[str]:
        """The names of images that are there already, the very same ones."""
        digests = {image.name: image.digest for image in images}
        there = [one for one in self._client.model.instances.values() if one.image in digests]
        for guest in there:
            if not guest.digest or not digests[guest.image].startswith(guest.digest):
                raise GuesthouseError(
                    f"{self._client.port} has a guest {guest.image} of its own",
                    "leave out the port for a board that is started for this, or remove it first: "
                    f"guesthouse rm {guest.image}",
                    ExitCode.REFUSED,
                )
        return {guest.image for guest in there}
