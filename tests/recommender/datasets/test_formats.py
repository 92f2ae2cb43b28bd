"""Every format, on files written here in its published layout, and on the real ones."""

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommender.datasets import FORMATS, detect_format
from storage.errors import BadData, BadSetting
from storage.store import Store
from tests.recommender.datasets.conftest import Bring, real, rows

REVIEWS = [
    {
        "rating": 5.0,
        "title": "Nice &amp; black",
        "text": "Writes well.<br />Again.",
        "images": [],
        "asin": "B1-variant",
        "parent_asin": "B1",
        "user_id": "U1",
        "timestamp": 1_600_000_000_000,
        "helpful_vote": 0,
        "verified_purchase": True,
    },
    {
        "rating": 2.0,
        "title": "Meh",
        "text": "",
        "images": [],
        "asin": "B2",
        "parent_asin": "B2",
        "user_id": "U1",
        "timestamp": 1_500_000_000_000,
        "helpful_vote": 3,
        "verified_purchase": False,
    },
    {
        "rating": 4.0,
        "title": "",
        "text": "Fine",
        "images": [],
        "asin": "B1",
        "parent_asin": "B1",
        "user_id": "U2",
        "timestamp": 1_550_000_000_000,
        "helpful_vote": 0,
        "verified_purchase": True,
    },
]
META = [
    {
        "main_category": "Office",
        "title": "Ink Pen &#40;Black&#41;",
        "average_rating": 4.5,
        "rating_number": 10,
        "features": ["Fine tip"],
        "description": ["A pen.", "Black <b>ink</b>."],
        "price": 3.99,
        "images": [],
        "videos": [],
        "store": "Parker",
        "categories": ["Office", "Pens"],
        "details": {},
        "parent_asin": "B1",
        "bought_together": None,
    },
    {
        "main_category": "Office",
        "title": "Nobody bought this",
        "features": [],
        "description": [],
        "price": None,
        "store": None,
        "categories": [],
        "details": {},
        "parent_asin": "B9",
    },
]
SPLIT = "user_id,parent_asin,rating,timestamp,history\n"


def lines(path: Path, records: list[dict[str, object]]) -> Path:
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_amazon_2023_reviews(tmp_path: Path, store: Store, bring: Bring, suffix: str) -> None:
    path = lines(tmp_path / f"Office_Products.{suffix}", REVIEWS)
    lines(tmp_path / f"meta_Office_Products.{suffix}", META)
    assert detect_format(path) == "amazon-2023-reviews"
    done = bring(path, with_reviews=True)
    assert rows(store) == [("U1", "B2", 2.0), ("U1", "B1", 5.0), ("U2", "B1", 4.0)]
    items = {item.id: item for item in store.catalogue.items(done.category.id)}
    assert set(items) == {"B1", "B2"}, "metadata of what nobody bought is left out"
    assert items["B1"].title == "Ink Pen (Black)"
    assert items["B1"].brand == "Parker"
    assert items["B1"].description == "A pen. Black ink."
    assert items["B1"].categories == "Office | Pens"
    assert items["B1"].price == "3.99"
    assert items["B2"].title == ""
    assert done.counts.items_without_title == 1
    assert (done.category.rating_low, done.category.rating_high) == (1, 5)
    reviews = {review.title: review.text for review in store.catalogue.reviews(done.category.id)}
    assert reviews == {"Nice & black": "Writes well. Again.", "Meh": "", "": "Fine"}
    log = store.catalogue.log(done.category.id)
    assert log.time.tolist()[1] == 1_600_000_000_000


def test_reviews_are_left_out_unless_asked_for(tmp_path: Path, store: Store, bring: Bring) -> None:
    path = lines(tmp_path / "Office_Products.jsonl", REVIEWS)
    done = bring(path)
    assert store.catalogue.review_count(done.category.id) == 0
    later = bring(path, with_reviews=True)
    assert later.counts.rows_new == 0
    assert store.catalogue.review_count(done.category.id) == 3
    assert bring(path, with_reviews=True).counts.rows_new == 0
    assert store.catalogue.review_count(done.category.id) == 3


def test_amazon_2023_ratings_with_metadata_beside(
    tmp_path: Path, store: Store, bring: Bring
) -> None:
    path = tmp_path / "Books.csv.gz"
    path.write_bytes(
        gzip.compress(
            b"user_id,parent_asin,rating,timestamp\nU1,B1,5.0,1600000000000\nU2,B1,1.0,9\n"
        )
    )
    lines(tmp_path / "meta_Books.jsonl.gz", META)
    assert detect_format(path) == detect_format_of_folder(tmp_path) == "amazon-2023-ratings"
    done = bring(path)
    assert store.catalogue.item_titles(done.category.id) == ["Ink Pen (Black)"]


def detect_format_of_folder(path: Path) -> str:
    return detect_format(path)


def test_amazon_2023_split_reads_all_parts(tmp_path: Path, store: Store, bring: Bring) -> None:
    for part, row in (
        ("train", "U1,B1,5.0,1000,\n"),
        ("valid", "U1,B2,4.0,2000,B1\n"),
        ("test", "U1,B3,3.0,3000,B1 B2\n"),
    ):
        (tmp_path / f"Books.{part}.csv").write_text(SPLIT + row)
    assert detect_format(tmp_path) == "amazon-2023-split"
    done = bring(tmp_path / "Books.train.csv")
    assert store.catalogue.log(done.category.id).part.tolist() == [0, 1, 2]
    assert bring(tmp_path).counts.rows_new == 0


def test_amazon_2023_parquet_folder(tmp_path: Path, store: Store, bring: Bring) -> None:
    folder = tmp_path / "Electronics"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(REVIEWS), folder / "part-0.parquet")
    meta = [{**record, "details": "{}", "images": None} for record in META]
    pq.write_table(pa.Table.from_pylist(meta), folder / "meta.parquet")
    assert detect_format(folder) == "amazon-2023-parquet"
    done = bring(folder, with_reviews=True)
    assert rows(store) == [("U1", "B2", 2.0), ("U1", "B1", 5.0), ("U2", "B1", 4.0)]
    assert sorted(store.catalogue.item_titles(done.category.id)) == ["B2", "Ink Pen (Black)"]
    assert store.catalogue.review_count(done.category.id) == 3


def test_the_same_reviews_in_two_forms_are_one_log(
    tmp_path: Path, store: Store, bring: Bring
) -> None:
    bring(lines(tmp_path / "Books.jsonl", REVIEWS))
    log = "".join(
        f"{r['user_id']},{r['parent_asin']},{r['rating']},{r['timestamp']}\n" for r in REVIEWS
    )
    path = tmp_path / "Books.csv"
    path.write_text("user_id,parent_asin,rating,timestamp\n" + log)
    assert bring(path).counts.already_there == 3


def test_amazon_2018(tmp_path: Path, store: Store, bring: Bring) -> None:
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,position,part\nA,2,1,valid\nA,0,0,train\nB,2,0,test\n"
    )
    (tmp_path / "items.csv").write_text(
        'item_id,title,brand,description\n0,"Pen, blue",Bic,"Two\nlines"\n1,Unseen,,\n2,Ink,,\n'
    )
    assert detect_format(tmp_path) == "amazon-2018"
    done = bring(tmp_path)
    assert [row[:2] for row in rows(store)] == [("A", "0"), ("A", "2"), ("B", "2")]
    assert store.catalogue.log(done.category.id).part.tolist() == [0, 1, 2]
    titles = store.catalogue.item_titles(done.category.id)
    assert sorted(titles) == ["Ink", "Pen, blue", "Unseen"]
    assert done.category.rating_low is None


HUNDRED_K_ITEM = "|".join(
    ["1", "Usual Suspects, The (1995)", "14-Aug-1995", "", "http://x"]
    + ["0"] * 6
    + ["1"]
    + ["0"] * 12
)


def test_movielens_100k_original(tmp_path: Path, store: Store, bring: Bring) -> None:
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_text("7\t1\t4\t881250949\n7\t2\t3\t881250948\n")
    second = HUNDRED_K_ITEM.replace("1|Usual", "2|Misérables, Les (1995)|Usual", 1)
    second = second.replace("|Usual Suspects, The (1995)", "", 1)
    (folder / "u.item").write_bytes(f"{HUNDRED_K_ITEM}\n{second}\n".encode("latin-1"))
    assert detect_format(folder) == detect_format(folder / "u.data") == "movielens-100k"
    done = bring(folder)
    assert rows(store) == [("7", "2", 3.0), ("7", "1", 4.0)]
    found = {item.id: item for item in store.catalogue.items(done.category.id)}
    assert found["1"].title == "The Usual Suspects (1995)"
    assert found["1"].categories == "Crime"
    assert found["2"].title == "Les Misérables (1995)"
    assert "research" in done.category.note


def one_m(folder: Path) -> None:
    folder.mkdir()
    (folder / "ratings.dat").write_text("1::10::5::978300760\n1::2::3::978300761\n")
    movies = "10::Matrix, The (1999)::Action|Sci-Fi\n2::Être (1990)::Drama\n"
    (folder / "movies.dat").write_bytes(movies.encode("latin-1"))


@pytest.mark.parametrize("zipped", [False, True])
def test_movielens_1m(tmp_path: Path, store: Store, bring: Bring, zipped: bool) -> None:
    path = tmp_path / "ml-1m"
    one_m(path)
    if zipped:
        path = packed(path)
    assert detect_format(path) == "movielens-1m"
    done = bring(path)
    assert rows(store) == [("1", "10", 5.0), ("1", "2", 3.0)]
    titles = store.catalogue.item_titles(done.category.id)
    assert titles == ["The Matrix (1999)", "Être (1990)"]
    items = list(store.catalogue.items(done.category.id))
    assert items[0].categories == "Action | Sci-Fi"
    assert store.catalogue.log(done.category.id).time[0] == 978_300_760_000


@pytest.mark.parametrize("zipped", [False, True])
def test_movielens_csv(tmp_path: Path, store: Store, bring: Bring, zipped: bool) -> None:
    path = tmp_path / "ml-32m"
    path.mkdir()
    (path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,17,0.5,944249077\n")
    (path / "movies.csv").write_text(
        'movieId,title,genres\n17,"American President, The (1995)",Comedy|Drama\n', "utf-8"
    )
    if zipped:
        path = packed(path)
    assert detect_format(path) == "movielens-csv"
    done = bring(path)
    assert store.catalogue.item_titles(done.category.id) == ["The American President (1995)"]
    assert done.category.rating_low == 0.5


def packed(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{folder.name}/{file.name}")
    return path


def test_movietweetings(tmp_path: Path, store: Store, bring: Bring) -> None:
    (tmp_path / "ratings.dat").write_text("1::0002844::0::1365029107\n")
    (tmp_path / "movies.dat").write_text("0002844::Fantômas (1913)::Crime|Drama\n", "utf-8")
    assert detect_format(tmp_path / "ratings.dat") == "movietweetings"
    done = bring(tmp_path)
    assert store.catalogue.item_titles(done.category.id) == ["Fantômas (1913)"]
    assert (done.category.rating_low, done.category.rating_high) == (0, 10)


def test_recbole(tmp_path: Path, store: Store, bring: Bring) -> None:
    (tmp_path / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n"
    )
    (tmp_path / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "242\tUsual Suspects, The\t1995\tCrime Thriller\n"
    )
    assert detect_format(tmp_path) == "recbole"
    done = bring(tmp_path / "ml-100k.inter")
    item = next(store.catalogue.items(done.category.id))
    assert item.title == "The Usual Suspects (1995)"
    assert item.categories == "Crime | Thriller"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_ones_own(tmp_path: Path, store: Store, bring: Bring, delimiter: str) -> None:
    path = tmp_path / "orders.csv"
    table = [["who", "what", "when", "stars"], ["a", "x", "2024-05-01T10:00:00", "4"]]
    table += [["a", "y", "2024-05-01", ""]]
    path.write_text("".join(delimiter.join(row) + "\n" for row in table))
    items = tmp_path / "products.csv"
    items.write_text("what,name\nx,Pen\ny,Ink\n")
    done = bring(
        path,
        columns={"user": "who", "item": "what", "time": "when", "rating": "stars", "title": "name"},
        items=items,
    )
    found = rows(store)
    assert [row[:2] for row in found] == [("a", "y"), ("a", "x")]
    assert np.isnan(found[0][2])
    assert sorted(store.catalogue.item_titles(done.category.id)) == ["Ink", "Pen"]
    log = store.catalogue.log(done.category.id)
    assert log.time[0] == 1_714_521_600_000


def test_a_parquet_table(tmp_path: Path, store: Store, bring: Bring) -> None:
    table = pa.table(
        {
            "user": pa.array([1, 1, 2]),
            "item": pa.array(["x", "y", "x"]),
            "ts": pa.array([3000, 1000, 2000], pa.timestamp("ms")),
            "title": pa.array(["Pen", "Ink", "Pen"]),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    done = bring(tmp_path / "log.parquet")
    assert [row[:2] for row in rows(store)] == [("1", "y"), ("1", "x"), ("2", "x")]
    assert store.catalogue.log(done.category.id).time.tolist() == [1000, 3000, 2000]
    assert sorted(store.catalogue.item_titles(done.category.id)) == ["Ink", "Pen"]


def test_a_table_without_times_keeps_its_order(tmp_path: Path, store: Store, bring: Bring) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\na,z\na,b\na,m\n")
    bring(path)
    assert [row[1] for row in rows(store)] == ["z", "b", "m"]
    path.write_text("user,item\na,z\na,b\na,m\na,c\n")
    assert bring(path).counts.rows_new == 1
    assert [row[1] for row in rows(store)] == ["z", "b", "m", "c"]


def test_a_missing_column_is_named(tmp_path: Path, bring: Bring) -> None:
    path = tmp_path / "log.csv"
    path.write_text("buyer,item,ts\na,b,1\n")
    with pytest.raises(BadData, match=r"no column for 'user'.*buyer, item, ts.*--columns user="):
        bring(path)
    with pytest.raises(BadData, match="no column 'nobody'"):
        bring(path, columns={"user": "nobody"})
    with pytest.raises(BadData, match="'colour'"):
        bring(path, columns={"colour": "ts"})


def test_an_unknown_format_lists_the_known(tmp_path: Path, bring: Bring) -> None:
    path = tmp_path / "log.xml"
    path.write_text("<log/>")
    with pytest.raises(BadData, match="movietweetings"):
        bring(path)
    with pytest.raises(BadSetting, match=FORMATS[0]):
        bring(path, format="xml")
    with pytest.raises(BadData, match="no file or folder"):
        bring(tmp_path / "nowhere")


def test_columns_are_for_tables(tmp_path: Path, bring: Bring) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\na,b\n")
    with pytest.raises(BadSetting, match="--columns"):
        bring(path, format="movielens-csv", columns={"user": "user"})


@pytest.mark.realdata
def test_amazon_office_is_as_described(store: Store, bring: Bring) -> None:
    done = bring(real("amazon-office-products-2018"))
    category = done.category
    assert (category.people, category.items, category.interactions) == (3231, 3459, 22447)
    log = store.catalogue.log(category.id)
    assert np.bincount(log.part).tolist() == [12715, 4866, 4866]
    assert done.counts.items_without_title == done.counts.bad_rows == 0
    titles = store.catalogue.item_titles(category.id)
    assert len(titles) - len(set(titles)) == 16
    assert bring(real("amazon-office-products-2018")).counts.rows_new == 0


@pytest.mark.realdata
def test_movietweetings_is_as_described(store: Store, bring: Bring) -> None:
    done = bring(real("movietweetings-100k"))
    category = done.category
    assert category.source == "movietweetings"
    assert (category.people, category.items, category.interactions) == (16554, 10506, 100_000)
    assert "Fantômas - À l'ombre de la guillotine (1913)" in store.catalogue.item_titles(
        category.id
    )
