"""Classes of the user's own: what is wrong with one is said in a sentence, and a good one works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from recommender.api import Recommender
from recommender.backends import Prompt
from recommender.backends.errors import ServerDown
from recommender.backends.opening import METHODS, open_backend
from recommender.config import Settings, resolve
from recommender.contracts import BackendContract, RankerContract
from recommender.leaderboard import Measured, Protocol, measure_rankers, open_measurable
from recommender.own import Shop, construct, load_class, open_ranker
from recommender.splits import TRAIN, temporal_split
from recommender.wording import example_category
from storage.errors import BadSetting
from storage.records import Log
from tests.cli import shop
from tests.tiny import finished

SHELF = """
import numpy as np
from recommender.ranking import rank_from_scores

class Shelf:
    name = "shelf"

    def __init__(self, shop):
        self.shop = shop
        self.items = shop.log.items

    def score(self, histories):
        last = [history[-1] if len(history) else 0 for history in histories]
        distance = np.abs(np.arange(self.items)[None] - np.array(last)[:, None])
        return -distance.astype(np.float32)

    def rank(self, history, *, candidates=None, n=10):
        scores = self.score([history])[0]
        return rank_from_scores(scores, history, name=self.name, candidates=candidates, n=n)
"""

BACKEND = """
from recommender.backends import ModelCard, Refusing, Scores

class Mine(Refusing):
    refuses_as = "'mine'"

    def describe(self):
        return ModelCard("mine", "rule", 0, 0, 0, "rule:1", "none", "here", ("similarity",))

    def similarity(self, prompt):
        found = tuple(1 / (1 + len(title)) for title in prompt.candidates)
        return Scores(found, (1,) * len(found))
"""

Write = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module of a name of its own beside `recsys.toml`; return its name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path.parent)  # so that only the settings can lead there
    before = set(sys.modules)

    def write(text: str) -> str:
        name = f"own_{tmp_path.name}_{len(list(tmp_path.glob('*.py')))}".replace("-", "_")
        (tmp_path / f"{name}.py").write_text(dedent(text))
        return name

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def settings_of(folder: Path, kind: str, place: str, name: str = "mine") -> Settings:
    """Write `recsys.toml` with one class of the user's, and resolve it."""
    (folder / "recsys.toml").write_text(f'{kind} = {{ {name} = "{place}" }}\n')
    return resolve(environ={"RECSYS_HOME": str(folder / "home")}, directory=folder).settings


def example_shop() -> Shop:
    none = np.empty(0)
    log = Log(
        *(none.astype(kind) for kind in (np.int64, np.int64, np.int64, np.float32, np.int8)), 0, 5
    )
    return Shop(example_category("Toys", "csv"), [f"Toy {n}" for n in range(5)], log)


def test_the_folder_of_the_settings_is_known(tmp_path: Path) -> None:
    assert resolve(environ={}, directory=tmp_path).settings.folder is None
    (tmp_path / "recsys.toml").write_text("seed = 1\n")
    found = resolve(environ={}, directory=tmp_path).settings
    assert found.folder == tmp_path
    assert found.model_copy(update={"seed": 2}).folder == tmp_path
    assert "folder" not in found.model_dump()
    environ = {"RECSYS_CONFIG": str(tmp_path / "recsys.toml")}
    assert resolve(environ=environ, directory=Path("/")).settings.folder == tmp_path


def test_a_module_beside_the_settings_is_found_from_anywhere(tmp_path: Path, module: Write) -> None:
    settings = settings_of(tmp_path, "backends", f"{module(BACKEND)}:Mine")
    backend = open_backend("mine", settings)
    assert backend.describe().name == "mine"
    assert backend.similarity(Prompt((), ("a", "bcd"))).logprobs == (0.5, 0.25)
    with pytest.raises(BadSetting, match="'mine' cannot score letters"):
        backend.score(Prompt((), ("a",)), "A")


def test_without_a_file_modules_are_looked_for_here(
    tmp_path: Path, module: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{module(BACKEND)}:Mine"
    monkeypatch.chdir(tmp_path)
    settings = Settings(data_dir=tmp_path / "home", backends={"mine": place})
    assert open_backend("mine", settings).describe().name == "mine"


def test_a_package_has_modules(tmp_path: Path, module: Write) -> None:
    name = f"own_package_{tmp_path.name}".replace("-", "_")
    (tmp_path / name).mkdir()
    (tmp_path / name / "inner.py").write_text(SHELF)
    assert load_class(f"{name}.inner:Shelf", "ranker", tmp_path).__name__ == "Shelf"
    with pytest.raises(BadSetting, match=rf"no module '{name}\.outer'"):
        load_class(f"{name}.outer:Shelf", "ranker", tmp_path)


@pytest.mark.parametrize(
    "place", ["mine", "mine:", ":Mine", "a-b:C", "mine.py:Mine:x", "..a:B", ""]
)
def test_what_names_no_class_is_said_so(place: str) -> None:
    with pytest.raises(BadSetting, match="does not name a class") as failed:
        load_class(place, "backend")
    assert 'backends = { NAME = "my_module:MyClass" } in recsys.toml' in failed.value.next_step


@pytest.mark.parametrize(
    ("text", "name", "said", "look"),
    [
        (None, "Mine", "there is no module 'own_nowhere'", ""),
        ("class Mein: ...", "Mine", "has no class 'Mine'; did you mean 'Mein'", ""),
        ("Mine = 3", "Mine", "is 3, and no class", ""),
        ("import own_missing_thing", "Mine", "No module named 'own_missing_thing'", "line 1"),
        ("from math import no_such", "Mine", "ImportError: cannot import name 'no_such'", "line 1"),
        ("\nx = 1 / 0", "Mine", "ZeroDivisionError: division by zero", "line 2"),
        ("class Mine(:", "Mine", "SyntaxError: .*line 1", ""),
        ("class Mine:\n  def __init__(self, x): ...", "Mine", "cannot be made: TypeError", ""),
        (
            "class Mine:\n  def __init__(self):\n    raise KeyError('API_KEY')",
            "Mine",
            "cannot be made: KeyError: 'API_KEY'",
            "line 3",
        ),
        (
            "class Mine:\n  def __init__(self):\n    assert False",
            "Mine",
            "AssertionError",
            "line 3",
        ),
    ],
)
def test_a_backend_that_cannot_be_loaded_is_a_sentence(
    tmp_path: Path, module: Write, text: str | None, name: str, said: str, look: str
) -> None:
    place = f"{'own_nowhere' if text is None else module(text)}:{name}"
    with pytest.raises(BadSetting, match=said) as failed:
        open_backend("mine", settings_of(tmp_path, "backends", place))
    assert "\n" not in str(failed.value)
    if look:
        assert failed.value.next_step.startswith(f"look at {tmp_path}")
        assert failed.value.next_step.endswith(look)
    elif text is None:
        assert str(tmp_path) in failed.value.what


def test_what_a_constructor_says_for_the_user_is_left_as_it_is(
    tmp_path: Path, module: Write
) -> None:
    text = """
    from recommender.backends.errors import ServerDown
    class Mine:
        def __init__(self):
            raise ServerDown("my server is down", next_step="start it")
    """
    settings = settings_of(tmp_path, "backends", f"{module(text)}:Mine")
    with pytest.raises(ServerDown, match=r"^my server is down; next: start it$"):
        open_backend("mine", settings)


@pytest.mark.parametrize("method", METHODS)
def test_a_backend_that_lacks_a_method_is_refused(
    tmp_path: Path, module: Write, method: str
) -> None:
    place = module(f"{BACKEND}\nMine.{method} = None") + ":Mine"
    with pytest.raises(BadSetting, match=rf"{place}' has no {method}\(\)") as failed:
        open_backend("mine", settings_of(tmp_path, "backends", place))
    assert "recommender.backends.Refusing" in failed.value.next_step
    assert "recommender.contracts.BackendContract" in failed.value.next_step


def test_a_backend_of_the_users_keeps_the_contract(tmp_path: Path, module: Write) -> None:
    settings = settings_of(tmp_path, "backends", f"{module(BACKEND)}:Mine")

    class Own(BackendContract):
        abilities = ("similarity",)

        def backend(self) -> object:  # type: ignore[override]
            return open_backend("mine", settings)

    for test in (name for name in dir(Own) if name.startswith("test_")):
        getattr(Own(), test)()


def test_a_ranker_is_made_with_the_shop(tmp_path: Path, module: Write) -> None:
    settings, toys = settings_of(tmp_path, "rankers", f"{module(SHELF)}:Shelf"), example_shop()
    ranker = open_ranker("mine", settings, toys)
    assert ranker.name == "shelf"
    assert ranker.shop is toys  # type: ignore[attr-defined]
    assert ranker.rank(np.array([2]), n=2).items == (1, 3)

    class Own(RankerContract):
        items = 5

        def ranker(self) -> object:  # type: ignore[override]
            return open_ranker("mine", settings, toys)

    for test in (name for name in dir(Own) if name.startswith("test_")):
        getattr(Own(), test)()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("Shelf.rank = None", r"has no rank\(\)"),
        ("del Shelf.name", "has no name"),
        ("Shelf.name = ' '", "has no name"),
        ("Shelf.name = None; Shelf.rank = 3", r"has no rank\(\), name"),
        ("Shelf.__init__ = lambda self: None", "cannot be made: TypeError: .*takes 1 positional"),
    ],
)
def test_what_is_no_ranker_is_refused(
    tmp_path: Path, module: Write, change: str, said: str
) -> None:
    settings = settings_of(tmp_path, "rankers", module(f"{SHELF}\n{change}") + ":Shelf")
    with pytest.raises(BadSetting, match=said):
        open_ranker("mine", settings, example_shop())


@pytest.mark.parametrize("name", ["student", "teacher", "popularity", "item-knn"])
def test_a_name_of_ours_is_not_taken_over(tmp_path: Path, module: Write, name: str) -> None:
    settings = settings_of(tmp_path, "rankers", f"{module(SHELF)}:Shelf", name)
    with pytest.raises(BadSetting, match=f"'{name}' is a ranker of ours"):
        open_ranker(name, settings, example_shop())


def test_arguments_reach_the_class() -> None:
    assert construct("fractions:Fraction", "ranker", None, 1, 2) == 0.5


@pytest.fixture
def opened(tmp_path: Path, module: Write) -> Iterator[Recommender]:
    """A shop whose settings name a ranker of one's own, and one that cannot be measured."""
    place, other = module(SHELF), module(f"{SHELF}\ndel Shelf.score")
    (tmp_path / "recsys.toml").write_text(
        f'rankers = {{ mine = "{place}:Shelf", quiet = "{other}:Shelf" }}\n'
    )
    settings = resolve(environ={"RECSYS_HOME": str(tmp_path)}, directory=tmp_path).settings
    shop.build(tmp_path)
    with Recommender.open(shop.NAME, settings=settings) as recommender:
        yield recommender


def test_it_answers_like_any_other_ranker(opened: Recommender) -> None:
    answer = opened.recommend("u1", 3, by="mine")
    history = opened.store.catalogue.history(opened.category.id, 1)
    assert (answer.ranker, answer.notices, answer.run) == ("shelf", (), "")
    nearest = sorted(set(range(16)) - set(history.tolist()), key=lambda i: abs(i - history[-1]))
    distances = [abs(item - history[-1]) for item in nearest[:3]]
    assert [-item.score for item in answer.items] == distances
    made = opened.ranker("mine")[0]
    assert opened.ranker("mine")[0] is made
    assert len(made.shop.log) == shop.PEOPLE * shop.LENGTH  # type: ignore[attr-defined]
    assert len(made.shop.titles) == shop.ITEMS  # type: ignore[attr-defined]
    assert made.shop.category.name == shop.NAME  # type: ignore[attr-defined]


def test_an_unknown_ranker_is_told_of_the_own_ones_too(opened: Recommender) -> None:
    with pytest.raises(BadSetting, match=r"'magic': one of student, .*item-knn, mine, quiet$"):
        opened.ranker("magic")


def test_it_is_measured_on_what_it_has_not_seen(opened: Recommender) -> None:
    job = measure_rankers(
        opened.store, shop.NAME, ["mine", "popularity"], Protocol(), opened.settings
    )
    events, _ = finished(job)  # type: ignore[arg-type]
    measured = events[-1]
    assert isinstance(measured, Measured)
    assert [name for name, _ in measured.rows] == ["mine", "popularity"]
    assert {one.run for one in measured.rows[0][1]} == {"shelf"}
    with pytest.raises(BadSetting, match=r"has no score\(\)"):
        list(measure_rankers(opened.store, shop.NAME, ["quiet"], Protocol(), opened.settings))
    with pytest.raises(BadSetting, match="item-knn, mine, quiet; a teacher's"):
        list(measure_rankers(opened.store, shop.NAME, ["magic"], Protocol(), opened.settings))
    with pytest.raises(BadSetting, match="item-knn; a teacher's"):
        list(measure_rankers(opened.store, shop.NAME, ["mine"], Protocol()))


def test_where_rankers_are_measured_the_shop_ends_with_the_train_rows(
    opened: Recommender,
) -> None:
    split = temporal_split(opened.store.catalogue.log(opened.category.id))
    ranker = open_measurable(
        opened.store, opened.category, split, "mine", Protocol(), opened.settings
    )
    log = ranker.shop.log  # type: ignore[attr-defined]
    train = split.part == TRAIN
    assert 0 < len(log) == int(train.sum()) < len(split.log)
    assert log.time.max() <= split.log.time[~train].min()
    assert (log.people, log.items) == (split.log.people, split.log.items)
    np.testing.assert_array_equal(log.item, split.log.item[train])
