"""What a board can promise the demo's guests: asked of its admission before anything is sent.

The manifests are for the Unix port. A board whose agent takes longer between two slices cannot
keep a reservation in so short a period, and one with less memory may not have room for all: the
demo takes what there is, and says what is different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from guesthouse.core.admission import budget
from guesthouse.core.units import fmt_us
from guesthouse.demo.folders import CONTROL
from guesthouse.guests.image import MANIFEST_ON_BOARD, Image, build_image
from guesthouse.guests.manifest import Manifest
from guesthouse.guests.plan import Plan, plan

# Periods of the reservation, the shortest first; the share stays what it is.
_PERIODS_MS = (20, 30, 40, 50, 75, 100, 150, 200)


@dataclass(frozen=True, slots=True)
class Fit:
    """The guests that the board takes, and in words what is not as in their manifests."""

    images: tuple[Image, ...]
    remarks: tuple[str, ...]


def fit(images: Sequence[Image], figures: Mapping[str, int]) -> Fit:
    """The guests as a board takes them whose admission counts with ``figures``."""
    asked = [image.manifest for image in images]
    best, planned = asked, plan(asked, figures)
    for period_ms in _PERIODS_MS:
        if planned.fits:
            break
        trial = [_lengthened(one, period_ms) if one.name == CONTROL else one for one in asked]
        if _refused(other := plan(trial, figures)) < _refused(planned):
            best, planned = trial, other
    taken, remarks = [], []
    for image, manifest, guest in zip(images, best, planned.guests, strict=True):
        if guest.error:
            remarks.append(f"{image.name} stays away: {guest.error}")
            continue
        if manifest != image.manifest:
            section = guest.wakeup.section_us if guest.wakeup else 0
            remarks.append(
                f"{image.name} has a reservation of {budget(manifest.to_json_dict())} here and not "
                f"of {budget(image.manifest.to_json_dict())}: this board's agent may be busy for "
                f"{fmt_us(section)}"
            )
            image = _with(image, manifest)
        taken.append(image)
    return Fit(tuple(taken), tuple(remarks))


def _refused(planned: Plan) -> int:
    return sum(bool(guest.error) for guest in planned.guests)


def _lengthened(manifest: Manifest, period_ms: int) -> Manifest:
    """The same share in a longer period."""
    if manifest.cpu_min_us is None or manifest.cpu_min_period_us is None:
        return manifest
    period_us = period_ms * 1000
    least_us = manifest.cpu_min_us * period_us // manifest.cpu_min_period_us
    return replace(manifest, cpu_min_us=least_us, cpu_min_period_us=period_us)


def _with(image: Image, manifest: Manifest) -> Image:
    contents = {file.path: file.data for file in image.files if file.path != MANIFEST_ON_BOARD}
    return build_image(manifest, contents, image.warnings)
