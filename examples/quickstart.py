"""A tour in half a minute: reduce a table, reduce pictures, draw new rows.

Run it with ``make demo``, or ``python examples/quickstart.py``. The data come with
scikit-learn; a picture is saved as quickstart.png in the current directory.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_unsup import AutoencoderTransformer, VAETransformer

CATEGORIES = ["sex", "age"]
TARGET = "progression"


def main():
    patients = load_patients()
    train, test = train_test_split(patients, test_size=0.25, random_state=42)
    print(f"Patients: {len(patients)} rows, two categories among the columns")
    print(patients.head(3).to_string(index=False))

    heading("1. Reduce a mixed table: Pipeline and GridSearchCV, beside PCA")
    scores, spread = reduce_patients(train, test)
    print(scores.to_string(float_format="{:.3f}".format))
    ahead = (scores["PCA"] > scores["autoencoder"]).sum()
    print("R2 of a ridge regression on the components, mean over 3 folds; the standard")
    print(
        f"deviation over folds is up to {spread:.3f}. PCA leads {ahead} of 4 lines; the"
    )
    print("autoencoder has a smaller net than by default, chosen by hand for few rows.")

    heading("2. Reduce pictures, where relations are not linear: digits, defaults")
    measured, pictures, codes = reduce_digits()
    print(measured.to_string(float_format="{:.3f}".format))
    print("On the quarter of the 1,797 digits that no fit has seen.")

    heading("3. Draw new rows that meet a condition")
    vae = VAETransformer(random_state=0).fit(train)
    condition = {"sex": 2, "age": "60 and over"}
    chosen = vae.sample(200, conditions=condition, random_state=0)
    print(chosen.head(4).to_string(index=False))
    met = (chosen[list(condition)] == pd.Series(condition)).all(axis=1)
    print(f"{met.sum()} of {len(chosen)} rows have {condition}")

    heading("4. Are they like the real ones?")
    samples = vae.sample(5_000, random_state=0)
    comparison = compare(train, samples)
    print(comparison.to_string(float_format="{:.2f}".format))
    print("Single columns are calibrated; the correlations had to be learnt.")
    for name, rows in {"the real rows": train, "samples": samples}.items():
        score = ridge_on(rows).score(test.drop(columns=TARGET), test[TARGET])
        print(f"R2 on held-out real rows of a ridge fitted to {name}: {score:.3f}")

    draw(pictures, codes, train, samples)
    print("\nPicture: quickstart.png")


def load_patients():
    """442 patients: two categories, eight measurements and the target."""
    patients = load_diabetes(scaled=False, as_frame=True).frame
    patients = patients.rename(columns={"target": TARGET})
    # The source calls the sexes 1 and 2 and does not say which is which.
    patients["sex"] = patients["sex"].astype(int).astype("category")
    patients["age"] = pd.cut(
        patients["age"],
        [0, 40, 60, 120],
        right=False,
        labels=["under 40", "40 to 59", "60 and over"],
    )
    return patients


def encoded_by_hand():
    """What a model of numbers needs before it; those of this package do not."""
    one_hot = OneHotEncoder(sparse_output=False)
    return make_column_transformer((one_hot, CATEGORIES), remainder=StandardScaler())


def ridge():
    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))


def ridge_on(rows):
    model = make_pipeline(encoded_by_hand(), ridge())
    return model.fit(rows.drop(columns=TARGET), rows[TARGET])


def reduce_patients(train, test):
    """R2 by cross-validation for each n_components, and on held-out rows at the best.

    The held-out rows play no part in the choice.
    """
    X, X_test = train.drop(columns=TARGET), test.drop(columns=TARGET)
    # By default the net is wider and takes some 2,500 steps: too many for few rows.
    autoencoder = AutoencoderTransformer(
        hidden_layer_sizes=(64, 32), max_iter=30, random_state=0
    )
    pipelines = {
        "autoencoder": Pipeline([("reduce", autoencoder), ("predict", ridge())]),
        "PCA": Pipeline(
            [("encode", encoded_by_hand()), ("reduce", PCA()), ("predict", ridge())]
        ),
    }
    folds = KFold(3, shuffle=True, random_state=0)
    columns, spread = {}, 0.0
    for name, pipeline in pipelines.items():
        search = GridSearchCV(pipeline, {"reduce__n_components": [2, 4, 6]}, cv=folds)
        search.fit(X, train[TARGET])
        scores = search.cv_results_["mean_test_score"]
        spread = max(spread, search.cv_results_["std_test_score"].max())
        labels = [
            f"{k} components" for k in search.cv_results_["param_reduce__n_components"]
        ]
        columns[name] = pd.Series(scores, labels)
        columns[name]["best, held-out rows"] = search.score(X_test, test[TARGET])
    return pd.DataFrame(columns), spread


def reduce_digits():
    """Variance kept and neighbours found, on held-out pictures, by 2 and 8 numbers."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.25, random_state=0)
    measured, codes = {}, {}
    for k in (2, 8):
        for name, model in {
            "autoencoder": AutoencoderTransformer(k, random_state=0),
            "PCA": PCA(k),
        }.items():
            Z, Z_test = model.fit(X).transform(X), model.transform(X_test)
            lost = np.square(X_test - model.inverse_transform(Z_test)).sum()
            kept = 1 - lost / np.square(X_test - X.mean(axis=0)).sum()
            nearest = KNeighborsClassifier(1).fit(Z, y).score(Z_test, y_test)
            measured[f"{name}, {k} components"] = {
                "variance kept": kept,
                "same digit nearest": nearest,
            }
            if k == 2:
                codes[name] = Z_test
    return pd.DataFrame(measured).T, y_test, codes


def compare(real, samples):
    """Means, frequencies and correlations of two tables, side by side."""
    rows = {
        "mean of bmi": lambda t: t["bmi"].mean(),
        "standard deviation of bmi": lambda t: t["bmi"].std(),
        "mean of progression": lambda t: t[TARGET].mean(),
        "share of sex 2": lambda t: (t["sex"] == 2).mean(),
        "share of 60 and over": lambda t: (t["age"] == "60 and over").mean(),
        "correlation of bmi and progression": lambda t: t["bmi"].corr(t[TARGET]),
        "correlation of s1 and s2": lambda t: t["s1"].corr(t["s2"]),
        "correlation of s3 and s4": lambda t: t["s3"].corr(t["s4"]),
    }
    tables = {"real": real, "samples": samples}
    return pd.DataFrame(
        {name: {row: of(t) for row, of in rows.items()} for name, t in tables.items()}
    )


def draw(digits, codes, real, samples):
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for ax, (name, code) in zip(axes, codes.items(), strict=False):
        ax.scatter(*code.T, c=digits, cmap="tab10", s=8)
        ax.set(title=f"digits, {name}", xlabel="component 0", ylabel="component 1")
    ax = axes[2]
    for name, rows in {"samples": samples.head(len(real)), "real": real}.items():
        ax.scatter(rows["bmi"], rows[TARGET], s=10, alpha=0.6, label=name)
    ax.set(title="patients", xlabel="bmi", ylabel=TARGET)
    ax.legend()
    figure.savefig("quickstart.png", dpi=120)
    plt.close(figure)


def heading(text):
    print(f"\n{text}\n{'-' * len(text)}")


if __name__ == "__main__":
    main()
