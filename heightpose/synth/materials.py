"""What surfaces reflect: their colours by day, and separately drawn reflectances under an infrared lamp.

At 850 nm skin of every tone is bright and about equal, most dyes turn transparent (patterns fade, dark cloth can be
bright), hair is dull, and carbon-black print stays black. Turning colours to grey would get all of that wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heightpose.synth.dress import Wardrobe

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
_EYE_LUMINANCE = 0.06  # darker than the darkest skin


@dataclass(frozen=True)
class Materials:
    """Reflectances of one scene; ``infrared`` decides which. All values are 0..1 linear RGB (equal in infrared)."""

    infrared: bool
    rng: np.random.Generator

    def cloth(self, picture: np.ndarray) -> np.ndarray:
        """A dyed fabric, carpet or painted surface ``(h, w, 3)``: random level, faded pattern in infrared."""
        if not self.infrared:
            return picture
        grey = picture @ _LUMA
        level, contrast = self.rng.uniform(0.25, 0.85), self.rng.uniform(0.05, 0.8)
        return _grey(level + contrast * (grey - grey.mean()))

    def solid(self, colour: np.ndarray | float) -> dict:
        """A Mitsuba diffuse material of one colour."""
        value = np.broadcast_to(np.asarray(colour, float), 3)
        if self.infrared:
            value = np.full(3, self.rng.uniform(0.2, 0.8))
        return {"type": "diffuse", "reflectance": {"type": "rgb", "value": [float(v) for v in value]}}

    def sheet(self, picture: np.ndarray, tagged: bool) -> np.ndarray:
        """The mattress: a printed sheet keeps its black, its white is as bright as that cloth happens to be."""
        if not self.infrared:
            return picture
        if not tagged:
            return self.cloth(picture)
        return _grey((picture @ _LUMA) * self.rng.uniform(0.55, 1.02))

    def skin(self, skin: np.ndarray) -> np.ndarray:
        """Skin colour per vertex ``(V, 3)``; tones are alike in infrared, eyes stay dark."""
        if not self.infrared or len(skin) == 0:
            return skin
        grey = skin @ _LUMA
        eyes = grey < _EYE_LUMINANCE
        relative = grey / max(float(np.median(grey)), 1e-3) - 1.0
        nir = self.rng.uniform(0.55, 0.72) * (1.0 + 0.3 * np.clip(relative, -0.3, 0.3))
        return _grey(np.where(eyes, 0.08, nir))

    def wardrobe(self, wardrobe: Wardrobe) -> Wardrobe:
        """The same skin, hair and clothes as this light sees them."""
        if not self.infrared:
            return wardrobe
        shells = []
        for shell in wardrobe.shells:
            if shell.name == "hair":
                grey = shell.picture @ _LUMA
                picture = _grey(self.rng.uniform(0.12, 0.5) * grey / max(float(grey.mean()), 1e-3))
            else:
                picture = self.cloth(shell.picture)
            shells.append(replace(shell, picture=picture))
        sack = wardrobe.sack
        if sack is not None:
            sack = replace(sack, picture=self.cloth(sack.picture))
        return replace(wardrobe, sack=sack, skin=self.skin(wardrobe.skin), shells=tuple(shells))


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(values, 0.01, 0.97)[..., None], 3, axis=-1).astype(np.float32)
