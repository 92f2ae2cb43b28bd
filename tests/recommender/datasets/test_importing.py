"""What an import promises: all or nothing, only adding, every row accounted for."""

import gzip
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.datasets import import_data
from recommender.datasets.sample import import_sample
from recommender.events import Progress, StageStarted
from storage.errors import BadData, BadSetting
from storage.store import Store
from tests.recommender.datasets.conftest import Bring, Imported, rows

HEADER = "user_id,parent_asin,rating,timestamp\n"


def ratings(path: Path, *lines: str) -> Path:
    text = (HEADER + "".join(line + "\n" for line in lines)).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def everything(store: Store) -> list[object]:
    """Return all that the Store has, to compare."""
    found: list[object] = []
    for category in store.catalogue.categories():
        log = store.catalogue.log(category.id)
        columns = [log.user, log.item, log.time, log.rating, log.part]
        found += [category, [column.tolist() for column in columns]]
        found += [store.catalogue.user_ids(category.id), list(store.catalogue.items(category.id))]
    return found


def test_a_second_import_adds_nothing(tmp_path: Path, store: Store, bring: Bring) -> None:
    path = ratings(tmp_path / "log.csv", "U1,B1,5,1000", "U1,B2,4,1000", "U2,B1,3,500")
    bring(path)
    before = everything(store)
    counts = bring(path).counts
    assert (counts.rows_new, counts.already_there, counts.people_new) == (0, 3, 0)
    assert everything(store) == before


def test_a_longer_file_adds_its_new_rows_and_moves_no_number(
    tmp_path: Path, store: Store, bring: Bring
) -> None:
    path = ratings(tmp_path / "log.csv", "U2,B2,5,2000", "U1,B1,4,1000")
    first = bring(path).category
    users, items = store.catalogue.user_ids(first.id), store.catalogue.item_ids(first.id)
    ratings(path, "U0,B0,1,5", "U2,B2,5,2000", "U2,B1,2,100", "U1,B1,4,1000")
    done = bring(path)
    assert (done.counts.rows_new, done.counts.already_there) == (2, 2)
    assert (done.counts.people_new, done.counts.items_new) == (1, 1)
    assert done.category.id == first.id
    assert store.catalogue.user_ids(first.id)[:2] == users
    assert store.catalogue.item_ids(first.id)[:2] == items
    assert rows(store) == [
        ("U2", "B1", 2.0),
        ("U2", "B2", 5.0),
        ("U1", "B1", 4.0),
        ("U0", "B0", 1.0),
    ]


LINES = st.lists(
    st.tuples(
        st.sampled_from("ABC"), st.sampled_from("xyz"), st.integers(1, 5), st.integers(1, 3)
    ).map(lambda row: ",".join(map(str, row))),
    min_size=1,
    max_size=12,
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(LINES, LINES, st.integers(0, 2))
def test_two_imports_are_one_of_both_files(
    tmp_path_factory: pytest.TempPathFactory, one: list[str], two: list[str], k: int
) -> None:
    """The log does not depend on how its rows came; without a k-core, which only adds."""
    folder = tmp_path_factory.mktemp("imports")
    logs = []
    for name, files in (("apart", [one, two]), ("together", [one + two])):
        with Store.open(str(folder / f"{name}.sqlite"), folder) as store:
            for number, lines in enumerate(files):
                path = ratings(folder / f"{name}{number}.csv", *lines)
                done = Imported(list(import_data(store, path, category="Shop")))
                counts = done.counts
                assert counts.rows_read == len(lines)
                assert counts.rows_read == (
                    counts.rows_new + counts.already_there + counts.duplicates
                )
            logs.append(sorted(rows(store)))
            if k:
                path = ratings(folder / f"{name}-again.csv", *one)
                again = Imported(list(import_data(store, path, category="Shop", k_core=k)))
                assert again.counts.rows_new == 0
    assert logs[0] == logs[1]
    assert len(logs[0]) == len(set(one + two))


def test_the_order_does_not_depend_on_the_file(tmp_path: Path, store: Store, bring: Bring) -> None:
    lines = [f"U{n % 7},B{n % 11},{1 + n % 5},{1000 + n % 3}" for n in range(60)]
    bring(ratings(tmp_path / "a.csv", *lines), "A")
    bring(ratings(tmp_path / "b.csv", *reversed(lines)), "B")
    assert sorted(rows(store, "A")) == sorted(rows(store, "B"))
    for user in range(7):
        one = [row for row in rows(store, "A") if row[0] == f"U{user}"]
        assert one == [row for row in rows(store, "B") if row[0] == f"U{user}"]


def test_exact_duplicates_are_counted_and_left_out(
    tmp_path: Path, store: Store, bring: Bring
) -> None:
    lines = ["U1,B1,5,1000", "U1,B1,5,1000", "U1,B1,4,1000", "U1,B1,5,1001"]
    counts = bring(ratings(tmp_path / "log.csv", *lines)).counts
    assert (counts.rows_read, counts.rows_new, counts.duplicates) == (4, 3, 1)
    assert len(rows(store)) == 3


BAD_LINES = [
    (",B1,5,1000", "no user id"),
    ("U1,,5,1000", "no item id"),
    ("U1,B1,five,1000", "rating 'five' is no number"),
    ("U1,B1,6,1000", "rating 6 lies outside 1 to 5"),
    ("U1,B1,,1000", "no rating"),
    ("U1,B1,nan,1000", "no rating"),
    ("U1,B1,5,", "no time"),
    ("U1,B1,5,yesterday", "time 'yesterday' is no number"),
    ("U1,B1,5,-4", "not between 1970 and 2100"),
    ("U1,B1,5,inf", "not between 1970 and 2100"),
    ("U1,B1,5", "3 columns, not 4"),
    ("U1,B1,5,1000,more", "5 columns, not 4"),
    ("U\x1b[2J,B1,5,1000", "is not printable"),
    ("x" * 300 + ",B1,5,1000", "is not printable"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason for _, reason in BAD_LINES])
def test_a_bad_row_is_named_and_skipped(
    tmp_path: Path, store: Store, bring: Bring, line: str, reason: str
) -> None:
    path = ratings(tmp_path / "log.csv", "U1,B1,5,1000", line, "U2,B2,4,2000")
    done = bring(path)
    assert (done.counts.bad_rows, done.counts.rows_new) == (1, 2)
    assert done.counts.first_bad[0].startswith("log.csv line 3: ")
    assert reason in done.counts.first_bad[0]
    assert any(reason in notice for notice in done.notices)
    with pytest.raises(BadData, match=r"log\.csv line 3: "):
        bring(path, "Strict", strict=True)
    assert [category.name for category in store.catalogue.categories()] == ["Shop"]


def test_bytes_that_are_not_utf_8_are_a_bad_row(tmp_path: Path, bring: Bring) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(HEADER.encode() + b"U\xff1,B1,5,1000\nU2,B2,4,2000\n")
    done = bring(path)
    assert (done.counts.bad_rows, done.counts.rows_new) == (1, 1)


def test_many_bad_rows_among_many_good_ones(tmp_path: Path, bring: Bring) -> None:
    lines = [f"U{n % 50},B{n},{9 if n % 1000 == 7 else 5},{n + 1}" for n in range(36_000)]
    counts = bring(ratings(tmp_path / "log.csv", *lines)).counts
    assert (counts.bad_rows, counts.rows_new) == (36, 35_964)
    assert counts.first_bad[:2] == (
        "log.csv line 9: rating 9 lies outside 1 to 5",
        "log.csv line 1009: rating 9 lies outside 1 to 5",
    )
    assert len(counts.first_bad) == 5


def test_lines_are_those_of_the_file_below_a_quoted_line_break(
    tmp_path: Path, bring: Bring
) -> None:
    path = tmp_path / "log.csv"
    path.write_text('user,item,time,note\na,x,1,"two\nlines"\n\nb,y,soon,\n')
    done = bring(path)
    assert done.counts.first_bad[0].startswith("log.csv line 5: ")


def test_nothing_usable_is_an_error_that_says_why(
    tmp_path: Path, store: Store, bring: Bring
) -> None:
    with pytest.raises(BadData, match="line 2: no user id"):
        bring(ratings(tmp_path / "log.csv", ",B1,5,1"))
    with pytest.raises(BadData):
        bring(ratings(tmp_path / "empty.csv"))
    (tmp_path / "void.csv").write_text("")
    with pytest.raises(BadData, match="is empty"):
        bring(tmp_path / "void.csv")
    assert store.catalogue.categories() == []


@pytest.mark.parametrize("keep", [40, 3000])
def test_a_cut_off_gz_changes_nothing_and_says_how_to_mend_it(
    tmp_path: Path, store: Store, bring: Bring, keep: int
) -> None:
    lines = [f"U{n},B{n % 97},5,{n * 7919 % 100_003 + 1}" for n in range(4000)]
    good = bring(ratings(tmp_path / "log.csv", "U1,B1,5,1000"))
    before = everything(store)
    path = ratings(tmp_path / "Books.csv.gz", *lines)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadData, match=r"cut off.*nothing of it is kept.*recsys data pull Books"):
        bring(path, good.category.name, format="amazon-2023-ratings")
    assert everything(store) == before


def test_a_damaged_gz_and_a_damaged_zip(tmp_path: Path, bring: Bring) -> None:
    (tmp_path / "Books.csv.gz").write_bytes(b"not gzip at all")
    with pytest.raises(BadData, match="is damaged"):
        bring(tmp_path / "Books.csv.gz", format="amazon-2023-ratings")
    (tmp_path / "ml-1m.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(BadData, match=r"no complete zip.*recsys data pull movielens-1m"):
        bring(tmp_path / "ml-1m.zip")


def test_stopping_half_way_keeps_nothing(tmp_path: Path, store: Store) -> None:
    path = ratings(tmp_path / "log.csv", *(f"U{n},B1,5,{n + 1}" for n in range(100)))
    job = import_data(store, path, category="Shop")
    assert isinstance(next(iter(job)), StageStarted)
    job.close()  # type: ignore[attr-defined]
    assert store.catalogue.categories() == []


def test_progress_counts_the_bytes_of_the_file(tmp_path: Path, bring: Bring) -> None:
    path = ratings(tmp_path / "log.csv.gz", *(f"U{n},B{n},5,{n + 1}" for n in range(33_000)))
    events = bring(path, format="amazon-2023-ratings").events
    reading = [one for one in events if isinstance(one, Progress) and one.stage == "reading"]
    assert reading[-1].total == path.stat().st_size
    assert 0 < reading[0].done <= reading[-1].done <= reading[-1].total


def test_a_k_core_drops_people_and_items(tmp_path: Path, store: Store, bring: Bring) -> None:
    lines = [f"U{u},B{i},5,{u * 10 + i + 1}" for u in range(3) for i in range(3)]
    lines += ["U9,B0,5,1", "U0,B9,5,1"]
    done = bring(ratings(tmp_path / "log.csv", *lines), k_core=3)
    assert (done.counts.rows_new, done.counts.dropped_by_core) == (9, 2)
    assert (done.category.people, done.category.items) == (3, 3)
    assert done.category.k_core == 3
    later = bring(ratings(tmp_path / "log.csv", *lines[:-1]), k_core=3)
    assert (later.counts.rows_new, later.counts.already_there) == (0, 9)
    with pytest.raises(BadData, match="nothing is left"):
        bring(ratings(tmp_path / "log.csv", *lines), "Other", k_core=5)


def test_what_is_stored_stays_outside_a_later_core(
    tmp_path: Path, store: Store, bring: Bring
) -> None:
    lines = [f"U{u},B{i},5,{u * 10 + i + 1}" for u in range(2) for i in range(2)]
    bring(ratings(tmp_path / "log.csv", *lines, "U9,B9,5,1"))
    done = bring(ratings(tmp_path / "log.csv", *lines), k_core=2)
    assert done.category.interactions == 5
    assert any("stay" in notice for notice in done.notices)


def test_real_data_replaces_the_sample_and_says_so(
    tmp_path: Path, store: Store, bring: Bring
) -> None:
    list(import_sample(store))
    done = bring(ratings(tmp_path / "log.csv", "U1,B1,5,1000"), "Electronics")
    assert any("synthetic sample 'Electronics' is being replaced" in text for text in done.notices)
    assert not done.category.synthetic
    assert (done.category.people, done.category.items) == (1, 1)
    with pytest.raises(BadData, match="real data"):
        list(import_sample(store))


def test_two_origins_do_not_mix(tmp_path: Path, store: Store, bring: Bring) -> None:
    bring(ratings(tmp_path / "log.csv", "U1,B1,5,1000"))
    other = tmp_path / "own.csv"
    other.write_text("user,item,time\na,b,1\n")
    with pytest.raises(BadData, match="holds amazon-2023-ratings"):
        bring(other)
    assert bring(other, "Own").counts.rows_new == 1


def test_times_and_none_do_not_mix(tmp_path: Path, bring: Bring) -> None:
    path = tmp_path / "own.csv"
    path.write_text("user,item,time\na,b,1\n")
    bring(path)
    path.write_text("user,item\na,b\n")
    with pytest.raises(BadData, match="cannot be put into one order"):
        bring(path)


def test_parts_and_none_do_not_mix(tmp_path: Path, bring: Bring) -> None:
    (tmp_path / "Books.train.csv").write_text(HEADER.strip() + ",history\nU1,B1,5,1000,\n")
    bring(tmp_path / "Books.train.csv")
    with pytest.raises(BadData, match="which part"):
        bring(ratings(tmp_path / "log.csv", "U1,B1,5,1000", "U1,B2,5,2000"))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[2J"])
def test_names_that_are_none(tmp_path: Path, bring: Bring, name: str) -> None:
    with pytest.raises(BadSetting, match="no name for a category"):
        bring(ratings(tmp_path / "log.csv", "U1,B1,5,1000"), name)


def test_hostile_titles_are_clean_before_they_are_kept(
    tmp_path: Path, store: Store, bring: Bring
) -> None:
    path = tmp_path / "log.csv"
    titles = ["x" * 5000, "\U0001f600" * 5, "\x1b[31m[bold]red[/bold]\x1b[0m", "a<br>\u202eb"]
    path.write_text(
        "user,item,time,title\n" + "".join(f"u,i{n},{n + 1},{t}\n" for n, t in enumerate(titles))
    )
    done = bring(path)
    found = {item.id: item.title for item in store.catalogue.items(done.category.id)}
    assert found == {
        "i0": "x" * 1000,
        "i1": "\U0001f600" * 5,
        "i2": "[bold]red[/bold]",
        "i3": "a b",
    }


def test_a_later_title_reaches_an_item_that_is_there(
    tmp_path: Path, store: Store, bring: Bring
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,time,title,brand\na,b,1,,Bic\na,c,2,Ink,\n")
    first = bring(path)
    assert first.counts.items_without_title == 1
    path.write_text("user,item,time,title,brand\na,b,1,Pen,\na,c,2,,\n")
    second = bring(path)
    assert second.counts.rows_new == 0
    assert second.category.digest != first.category.digest
    found = {i.id: (i.title, i.brand) for i in store.catalogue.items(second.category.id)}
    assert found == {"b": ("Pen", "Bic"), "c": ("Ink", "")}


def test_bad_rows_of_the_catalogue_are_counted_apart(tmp_path: Path, bring: Bring) -> None:
    path = ratings(tmp_path / "Books.csv", "U1,B1,5,1000")
    (tmp_path / "meta_Books.jsonl").write_text(
        '{"parent_asin": "B1", "title": "Pen"}\n{"title": "no id"}\n[1]\n{broken\n'
    )
    counts = bring(path).counts
    assert (counts.bad_rows, counts.bad_items, counts.items_without_title) == (0, 3, 0)
    assert astuple(counts)[-1][0].startswith("meta_Books.jsonl line 2: ")
