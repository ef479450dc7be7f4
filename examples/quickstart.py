"""A tour in some seconds: draw rows of a mixed table, reduce pictures and a table.

Run it with ``make demo``, or ``python examples/quickstart.py``. All models are at their
defaults. The data come with scikit-learn; a picture is saved as quickstart.png in the
current directory.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unsup import AutoencoderTransformer, VAETransformer
from sklearn_unsup.metrics import synthesis_report

TARGET = "progression"


def main():
    heading("1. Draw rows of a mixed table that meet a condition")
    patients = load_patients()
    train, test = train_test_split(patients, test_size=0.25, random_state=42)
    print(f"{len(train)} patients, as they are: numbers and two categories")
    print(train.head(3).to_string(index=False))
    vae = VAETransformer(random_state=0).fit(train)
    condition = {"sex": 2, "age": "60 and over"}
    chosen = vae.sample(200, conditions=condition, random_state=0)
    print(f"\nDrawn given {condition}:")
    print(chosen.head(3).to_string(index=False))
    met = (chosen[list(condition)] == pd.Series(condition)).all(axis=1)
    print(f"{met.sum()} of {len(chosen)} drawn rows meet the condition.")

    heading("2. Are they like the real ones?")
    samples = vae.sample(len(train), random_state=0)
    print(judge(train, samples, test).to_string(float_format="{:.2f}".format))
    print("shape: how like the columns are one by one; 1 is best.")
    print("trend: how like the dependences between two columns are; 1 is best.")
    print("c2st: how well boosting tells rows from real ones; .5 is best, and")
    print("  below it rows are nearer to those of the fit than new ones are.")
    print("tstr: R2 on real rows of a model that was fitted to these rows.")
    print("trtr: R2 of a model that was fitted to real rows, the most to expect.")

    heading("3. Reduce pictures to two numbers")
    measured, digits, codes = reduce_digits()
    print(measured.to_string(float_format="{:.3f}".format))
    print("On the quarter of the 1,797 digits that no fit has seen.")
    print("variance kept: of the pixels, by what comes back from the two numbers.")
    print("same digit nearest: how often the nearest of the others is the same digit.")

    heading("4. Reduce a table, in a Pipeline with GridSearchCV")
    measured, best = reduce_measurements()
    print(measured.to_string(float_format="{:.3f}".format))
    print("569 tumours, of which 143 are held out, by 2, 4 and 8 of 30 numbers.")
    print("variance kept: of the standardised columns. accuracy: of a logistic")
    print("  regression on the codes, by cross-validation on the other tumours.")
    print(f"best size: {best['size']}, held-out accuracy {best['accuracy']:.3f}")

    draw(digits, codes, train, samples)
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


def judge(train, samples, test):
    """Samples beside columns drawn one by one, and real rows drawn again."""
    report = synthesis_report(
        train, samples, holdout=test, target=TARGET, random_state=0
    )
    return report.scores[["shape", "trend", "c2st", "tstr", "trtr"]]


def variance_kept(model, train, test):
    """Share of the variance of new rows that comes back from their codes."""
    lost = np.square(test - model.inverse_transform(model.transform(test))).sum()
    return 1 - lost / np.square(test - train.mean(axis=0)).sum()


def reduce_digits():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.25, random_state=0)
    measured, codes = {}, {}
    for model in (AutoencoderTransformer(2, random_state=0), PCA(2)):
        name = type(model).__name__
        codes[name] = model.fit(X).transform(X_test)
        nearest = KNeighborsClassifier(1).fit(model.transform(X), y)
        measured[name] = {
            "variance kept": variance_kept(model, X, X_test),
            "same digit nearest": nearest.score(codes[name], y_test),
        }
    return pd.DataFrame(measured).T, y_test, codes


def reduce_measurements():
    """Each size of the code, beside PCA; and what the best one is worth on new rows."""
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.25, random_state=0, stratify=y
    )
    # The autoencoder needs no scaler; here PCA and the measure of variance do.
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    measured = {}
    for reducer in (AutoencoderTransformer(random_state=0), PCA()):
        pipeline = Pipeline(
            [
                ("reduce", reducer),
                ("classify", make_pipeline(StandardScaler(), LogisticRegression())),
            ]
        )
        search = GridSearchCV(pipeline, {"reduce__n_components": [2, 4, 8]}, cv=3)
        search.fit(X, y)
        scores = search.cv_results_["mean_test_score"]
        for size, score in zip([2, 4, 8], scores, strict=True):
            model = reducer.set_params(n_components=size).fit(X)
            measured[f"{type(reducer).__name__}, {size}"] = {
                "variance kept": variance_kept(model, X, X_test),
                "accuracy": score,
            }
        if isinstance(reducer, AutoencoderTransformer):
            best = {
                "size": search.best_params_["reduce__n_components"],
                "accuracy": search.score(X_test, y_test),
            }
    return pd.DataFrame(measured).T, best


def draw(digits, codes, real, samples):
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for ax, (name, code) in zip(axes, codes.items(), strict=False):
        ax.scatter(*code.T, c=digits, cmap="tab10", s=8)
        ax.set(title=f"digits, {name}", xlabel="component 0", ylabel="component 1")
    ax = axes[2]
    for name, rows in {"samples": samples, "real": real}.items():
        ax.scatter(rows["bmi"], rows[TARGET], s=10, alpha=0.6, label=name)
    ax.set(title="patients", xlabel="bmi", ylabel=TARGET)
    ax.legend()
    figure.savefig("quickstart.png", dpi=120)
    plt.close(figure)


def heading(text):
    print(f"\n{text}\n{'-' * len(text)}")


if __name__ == "__main__":
    main()
