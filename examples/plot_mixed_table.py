"""
Can a synthetic table stand in for a real one?
==============================================

Numbers, counts, amounts that are mostly zero, dates, categories, and holes in some of
them: this page fits a generator to a table as it comes, draws another of the same size,
and asks where the two differ.
"""

# %%
# 3,000 rows to learn from, and others of the same kind that no model sees.
import matplotlib.pyplot as plt

from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.inspection import TableComparisonDisplay
from sklearn_unsup.metrics import synthesis_report

real, _ = make_mixed_table(3_000, random_state=0)
holdout, _ = make_mixed_table(1_500, random_state=100)
real.head()

# %%
# No encoder, no scaler, no imputer. What comes back has the same columns, dtypes and
# kinds of missing values.
vae = VAETransformer(random_state=0).fit(real)
synthetic = vae.sample(len(real), random_state=0)
assert (synthetic.dtypes == real.dtypes).all()
synthetic.head()

# %%
# Column by column, and below that what ties each pair of columns together.
TableComparisonDisplay.from_tables(real, synthetic)
plt.show()

# %%
# Pictures flatter. The report has numbers, beside two tables that nobody wants: one
# whose columns were drawn each by itself, and one that only repeats rows. In ``shape``
# and ``trend`` 1 is best; ``c2st`` says how well a classifier tells the tables
# apart, .5 is not at all; ``tstr`` is a classifier of ``active`` that was trained on
# synthetic rows and tested on held-out real ones, ``trtr`` the same trained on real
# rows.
report = synthesis_report(
    real, synthetic, holdout=holdout, target="active", random_state=0
)
print(report)

# %%
# A third table, of fresh real rows, shows what is within reach.
fresh, _ = make_mixed_table(len(real), random_state=101)
best = synthesis_report(real, fresh, holdout=holdout, target="active", random_state=0)
best.scores.head(1).rename({"synthetic": "fresh real rows"})

# %%
# So a classifier hardly knows the synthetic rows from real ones, a model trained on
# them predicts as well, and they are no copies.
scores = report.scores.loc["synthetic"]
assert abs(scores["c2st"] - 0.5) < 0.1
assert scores["tstr"] > scores["trtr"] - 0.05
assert abs(scores["dcr_excess"]) < 0.3
assert report.warnings == []
