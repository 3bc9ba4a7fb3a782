"""Which weights of a backbone are trained, as an experiment file says it. Plain data: torch is not loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass

ALL, FROZEN, LAST, LORA = "all", "frozen", "last", "lora"
WOULD = "`all`, `frozen`, `last:N` (the last N blocks) or `lora:R` (adapters of rank R) would do"


@dataclass(frozen=True)
class Tuning:
    """Which weights of a backbone are trained.

    Attributes:
        way: `all`; `frozen`, none; `last`, those of the last blocks; `lora`, low-rank adapters alone.
        count: of `last` the blocks, of `lora` the rank.
    """

    way: str = ALL
    count: int = 0

    @classmethod
    def read(cls, text: str) -> Tuning:
        """What `all`, `frozen`, `last:N` or `lora:R` say.

        Raises:
            ValueError: another word, or a number below 1.
        """
        found = re.fullmatch(r"(all|frozen)|(last|lora):([1-9]\d{0,5})", text)
        if found is None:
            raise ValueError(WOULD)
        plain, counted, count = found.groups()
        return cls(plain) if plain else cls(counted, int(count))

    def __str__(self) -> str:
        return f"{self.way}:{self.count}" if self.count else self.way
