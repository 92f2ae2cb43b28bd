"""What ranking and embedding distillation are asked to do: settings, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from storage.errors import BadSetting

SHARE = 0.8
"""λ of the published code."""
GAMMA_POSITION, GAMMA_CONFIDENCE, GAMMA_CONSISTENCY = 0.3, 0.5, 0.1
"""γ_p, γ_c and γ_o, paper and code."""
BETA = 1.0
"""β of the weights of position and of confidence, paper and code."""
TEACHER = "teacher"
"""Of `RankedConfig.vectors_by`: whoever teaches."""


@dataclass(frozen=True, slots=True)
class RankedConfig:
    """What DLLM2Rec adds to a loss; as it stands, nothing.

    >>> RankedConfig().is_on, RankedConfig(share=0.8).is_on, RankedConfig(embeddings=True).is_on
    (False, True, True)
    """

    share: float = 0.0
    """λ of the ranking distillation; 0 leaves it out."""
    top: int = 5
    """K: how much of the teacher's ranking counts as its list. The paper has 10 of a whole
    catalogue; here it is half of the ten candidates there are at first, and the rest of them are
    the negatives."""
    position: float = 0.0
    """γ_p of the weight that falls with the place. All three at 0: every item counts the same."""
    confidence: float = 0.0
    """γ_c of the weight by how sure the teacher is."""
    consistency: float = 0.0
    """γ_o of the weight of what the student ranks high too."""
    position_beta: float = BETA
    confidence_beta: float = BETA
    confidence_by: Literal["label", "distance"] = "label"
    """What says how sure it is: the calibrated label itself, or the grounding distance of a
    teacher that names a title (`--teacher-mode generate`), as published."""
    embeddings: bool = False
    """Whether the item table is b_i + A z_i; what it would start from otherwise is not read."""
    offset: bool = True
    """Whether there is a b_i: without, all items are projections."""
    vectors_by: str = ""
    """What makes z: nothing named is the encoder of titles, 'teacher' whoever teaches, else an
    encoder or a model that is in this process, by name."""

    def __post_init__(self) -> None:
        """Check ranges before anything expensive."""
        shares = (self.share, self.position, self.confidence, self.consistency)
        if not all(0 <= one < math.inf for one in shares):
            raise BadSetting(f"no share of a ranking loss can be below 0: {self!r}")
        if not (0 < self.position_beta < math.inf and 0 < self.confidence_beta < math.inf):
            raise BadSetting(f"the β of a weight must be above 0: {self!r}")
        if self.top < 1:
            raise BadSetting(f"a teacher's list of {self.top} items says nothing")

    @property
    def is_on(self) -> bool:
        """Whether anything of it is learned from."""
        return self.share > 0 or self.embeddings
