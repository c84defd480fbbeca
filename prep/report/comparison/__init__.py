"""The pages of experiments: what was asked, what came of it, the pictures; and the log of them all.

pages.py   writes a page for each experiments/<name>.json, and index.html
page.py    one experiment, in the order a reader wants it
verdict.py, forest.py, arms.py, rows.py, curves.py, recall.py, done.py
           its parts: in one sentence, as differences, as figures, as pictures, ...
models.py  who has drawn the pictures       seeds.py   which of them the page shows
index.py   the log of all experiments
"""

from prep.report.comparison.pages import write_pages

__all__ = ["write_pages"]
