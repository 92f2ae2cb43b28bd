"""What `recsys data pull` knows by name, and no address: cheap to import, used in messages."""

from __future__ import annotations

from difflib import get_close_matches

from storage.errors import UnknownName

MOVIELENS = {"movielens-100k": "ml-100k", "movielens-1m": "ml-1m", "movielens-32m": "ml-32m"}
"""Our name -> stem of the published files."""

AMAZON_2023 = (
    "All_Beauty",
    "Amazon_Fashion",
    "Appliances",
    "Arts_Crafts_and_Sewing",
    "Automotive",
    "Baby_Products",
    "Beauty_and_Personal_Care",
    "Books",
    "CDs_and_Vinyl",
    "Cell_Phones_and_Accessories",
    "Clothing_Shoes_and_Jewelry",
    "Digital_Music",
    "Electronics",
    "Gift_Cards",
    "Grocery_and_Gourmet_Food",
    "Handmade_Products",
    "Health_and_Household",
    "Health_and_Personal_Care",
    "Home_and_Kitchen",
    "Industrial_and_Scientific",
    "Kindle_Store",
    "Magazine_Subscriptions",
    "Movies_and_TV",
    "Musical_Instruments",
    "Office_Products",
    "Patio_Lawn_and_Garden",
    "Pet_Supplies",
    "Software",
    "Sports_and_Outdoors",
    "Subscription_Boxes",
    "Tools_and_Home_Improvement",
    "Toys_and_Games",
    "Video_Games",
)
"""The categories of Amazon Reviews 2023, as its files are called."""

MOVIELENS_NOTE = (
    "MovieLens, GroupLens Research: its licence allows research and non-commercial use only"
)
AMAZON_NOTE = "Amazon Reviews 2023, McAuley Lab, UCSD: published for research"


def known_name(name: str) -> str:
    """Return a name as it is published, whatever its case and blanks.

    >>> known_name("office products")
    'Office_Products'

    Raises:
        UnknownName: nothing is published under it, with the nearest names.
    """
    known = {one.lower(): one for one in (*MOVIELENS, *AMAZON_2023)}
    asked = name.strip().lower().replace(" ", "_").replace("_&_", "_and_")
    if asked in known:
        return known[asked]
    if asked.replace("_", "-") in known:
        return known[asked.replace("_", "-")]
    near = [known[one] for one in get_close_matches(asked, known, n=3, cutoff=0.5)]
    hint = f"; did you mean {' or '.join(repr(one) for one in near)}?" if near else ""
    raise UnknownName(
        f"no public data set {name!r} is known{hint}; there are {', '.join(MOVIELENS)} and the "
        f"{len(AMAZON_2023)} categories of Amazon Reviews 2023 ({AMAZON_2023[0]} to "
        f"{AMAZON_2023[-1]})",
        next_step=f"recsys data pull {near[0] if near else 'movielens-100k'}",
    )


def published_name(file_name: str) -> str:
    """Return which public data set a file belongs to, or an empty text.

    >>> published_name("meta_Electronics.jsonl.gz"), published_name("ml-1m.zip")
    ('Electronics', 'movielens-1m')
    >>> published_name("mine.csv.gz")
    ''
    """
    stem = file_name.removeprefix("meta_").split(".")[0]
    if stem in AMAZON_2023:
        return stem
    return next((name for name, published in MOVIELENS.items() if published == stem), "")
