"""`python -m recommender.live`: the process of one live ranker."""

from recommender.live.answering import main

if __name__ == "__main__":
    main()
