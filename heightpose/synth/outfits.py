"""What a child may wear: garments as parts of the body, and the outfits they make. Plain tables."""

from __future__ import annotations

#: Bone name prefixes of parts of the body.
TRUNK = ("root", "pelvis", "spine", "breast")
LEGS = ("upperleg", "lowerleg")
FEET = ("foot", "toe")
_SLEEVES = ("clavicle", "shoulder01", "upperarm01")
_ARMS = (*_SLEEVES, "upperarm02", "lowerarm01", "lowerarm02")

#: Garments as (bone name prefixes, thickness range in cm).
GARMENTS = {
    "nappy": (("root", "pelvis", "spine05"), (0.8, 1.8)),
    "bodysuit": ((*TRUNK, *_SLEEVES), (0.3, 0.8)),
    "sleepsuit": ((*TRUNK, *_ARMS, *LEGS, *FEET), (0.4, 1.2)),
    "shirt": ((*TRUNK[2:], *_ARMS), (0.3, 0.9)),
    "trousers": (("root", "pelvis", "spine05", *LEGS), (0.3, 1.0)),
    "socks": (FEET, (0.2, 0.4)),
    # its bodice; the bag is a Sack
    "sleeping bag": (("spine", "breast", "clavicle", "shoulder01"), (0.9, 1.5)),
}
#: Outfits as garments, inner ones first.
OUTFITS = {
    "nappy": ("nappy",),
    "bodysuit": ("nappy", "bodysuit"),
    "sleepsuit": ("nappy", "sleepsuit"),
    "separates": ("nappy", "shirt", "trousers"),
    "separates and socks": ("nappy", "shirt", "trousers", "socks"),
    "bodysuit and socks": ("nappy", "bodysuit", "socks"),
    "sleeping bag": ("nappy", "sleepsuit", "sleeping bag"),
}
