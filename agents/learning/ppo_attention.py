"""PPO for continuous nodes with an attention network: what differs from :mod:`agents.learning.ppo_admission`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from agents.learning.ppo_admission import PpoAdmission
from agents.models.admission_actor import Critic
from agents.models.attention_inputs import MEMBER
from agents.models.attention_network import MOST_BLOCKS, AttentionNetwork


class PpoAttention(PpoAdmission):
    """Trains an :class:`agents.models.attention_network.AttentionNetwork` from scratch; ``hidden_units`` per token."""

    heads: Annotated[int, Field(ge=1)]
    blocks: Annotated[int, Field(ge=1, le=MOST_BLOCKS)]

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.hidden_units % self.heads:
            raise ValueError(f"heads: {self.heads}; expected a divisor of hidden_units = {self.hidden_units}")
        return self

    def networks(self, inputs: tuple[str, ...]) -> tuple[AttentionNetwork, Critic]:
        """Return what it trains, untrained, which sees ``inputs``; the critic sees the running requests too."""
        actor = AttentionNetwork(inputs, self.hidden_units, self.heads, self.blocks)
        return actor, Critic(self.critic_units, inputs, MEMBER)
