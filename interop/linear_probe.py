"""Makes test/evaluation/fixtures/linear-probe.json: penalised multinomial regressions solved by PyTorch in f64.

    python interop/linear_probe.py > test/evaluation/fixtures/linear-probe.json      (write it)
    python interop/linear_probe.py --check test/evaluation/fixtures/linear-probe.json (compare with what is written)

Needs torch (made with 2.13.0, CPU). Where scikit-learn is there, its LogisticRegression is asked too and must agree: its C is
1 / (penalty * rows). Each case holds features and labels, and for each penalty the least loss, with
loss = mean cross-entropy + penalty / 2 * |W|^2, and the probabilities at the minimum. The problem is strictly convex but for
a shift of the bias, so that every good solver finds the same.
"""

import json
import sys

import torch

CASES = {"five classes": (60, 6, 5, 1.0), "two classes": (20, 3, 2, 0.5), "separable": (30, 10, 3, 0.1)}
PENALTIES = (1.0, 1e-2, 1e-4)


def solve(features, labels, classes, penalty):
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [weight, bias], max_iter=5000, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def loss():
        scores = features @ weight.T + bias
        return torch.nn.functional.cross_entropy(scores, labels) + penalty / 2 * weight.square().sum()

    def step():
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    search.step(step)
    with torch.no_grad():
        return loss().item(), (features @ weight.T + bias).softmax(-1)


def agrees(features, labels, penalty, probabilities):
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None
    model = LogisticRegression(C=1 / (penalty * len(labels)), max_iter=10000, tol=1e-10)
    found = model.fit(features.numpy(), labels.numpy()).predict_proba(features.numpy())
    return abs(found - probabilities.numpy()).max() < 1e-4


def run(name, seed):
    rows, width, classes, noise = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=generator)
    labels = torch.arange(rows) % classes
    # Rounded, so that what the file holds is what was solved.
    features = (centres[labels] + noise * torch.randn(rows, width, generator=generator)).mul(1024).round().div(1024)
    fits = []
    for penalty in PENALTIES:
        loss, probabilities = solve(features.double(), labels, classes, penalty)
        # scikit-learn fits one set of weights for two classes, which is another penalty.
        if classes > 2 and agrees(features.double(), labels, penalty, probabilities) is False:
            sys.exit(f"{name}, penalty {penalty}: scikit-learn finds another minimum")
        rounded = [[float(f"{p:.7g}") for p in row] for row in probabilities.tolist()]
        fits.append({"penalty": penalty, "loss": float(f"{loss:.9g}"), "probabilities": rounded})
    return {"classes": classes, "features": features.tolist(), "labels": labels.tolist(), "fits": fits}


def same(a, b):
    if isinstance(a, float) or isinstance(b, float):
        return abs(a - b) < 1e-5
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def main():
    made = {name: run(name, i) for i, name in enumerate(CASES)}
    if "--check" in sys.argv:
        with open(sys.argv[sys.argv.index("--check") + 1], encoding="utf-8") as file:
            equal = same(json.load(file), made)
        print("equal" if equal else "different")
        sys.exit(0 if equal else 1)
    json.dump(made, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
