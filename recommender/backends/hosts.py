"""The same model on several machines, as one backend.

Apart because only the bulk job may use them all at once: there they share one queue. Asked
one question at a time, the first answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from recommender.backends import Backend, Completion, ModelCard, Prompt, Refusing, Scores
from storage.errors import BadSetting


class Hosts(Refusing):
    """Several backends that hold one build of one model.

    Raises:
        BadSetting: they do not, which would mix two teachers' labels.
    """

    def __init__(self, members: Sequence[Backend]) -> None:
        """`members` are open, and at least one."""
        first = members[0].describe()
        for other in members[1:]:
            card = other.describe()
            if (card.key, card.options) != (first.key, first.options):
                raise BadSetting(
                    f"{card.device} holds another build than {first.device}: {card.key} "
                    f"against {first.key}",
                    next_step=f"ollama pull {first.name} on both, or name one --host",
                )
        self.members = tuple(members)
        self.refuses_as = f"{first.name!r}"

    def describe(self) -> ModelCard:
        """Describe the first member; all are one build."""
        return self.members[0].describe()

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        """Ask the first member."""
        return self.members[0].score(prompt, labels)

    def likelihood(
        self, prompt: Prompt, titles: Sequence[str], *, states_of: Sequence[int] = ()
    ) -> Scores:
        """Ask the first member."""
        return self.members[0].likelihood(prompt, titles, states_of=states_of)

    def unconditional(self, titles: Sequence[str], *, noun: str = "products") -> Scores:
        """Ask the first member."""
        return self.members[0].unconditional(titles, noun=noun)

    def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
        """Ask the first member."""
        return self.members[0].stream(turn, limit=limit)

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        """Ask the first member."""
        return self.members[0].complete(turn, schema=schema, limit=limit)

    def similarity(self, prompt: Prompt) -> Scores:
        """Ask the first member."""
        return self.members[0].similarity(prompt)

    def close(self) -> None:
        """Close all members."""
        for one in self.members:
            one.close()


def members_of(backend: Backend) -> tuple[Backend, ...]:
    """Return the machines behind a backend: itself where it is one."""
    return backend.members if isinstance(backend, Hosts) else (backend,)
