"""KL(p || q) = sum p log(p / q): how many nats more q costs than p when p is the truth.

It is never negative, zero only for equal distributions, and not symmetric. The cross-entropy is
entropy(p) + KL(p || q), and the entropy of the truth p does not depend on the model q: whoever
maximises the likelihood minimises KL.
"""

import math

import numpy as np

import fastsoftmax as fs

P, Q = np.array([0.70, 0.20, 0.10]), np.array([0.12, 0.64, 0.24])


def smallest_kl(n_pairs=10_000, n_classes=5, seed=0):
    """The smallest KL of many random pairs, and the largest of any distribution with itself."""
    p, q = np.random.default_rng(seed).dirichlet(np.ones(n_classes), size=(2, n_pairs))
    return float(fs.kl_divergence(p, q).min()), float(np.abs(fs.kl_divergence(p, p)).max())


def kl_of_one_hot(label=1, q=Q):
    """The entropy of a one-hot (0), KL(one-hot || q), and the cross-entropy of q: the same."""
    truth = fs.one_hot(label, len(q), q.dtype)
    loss = fs.cross_entropy(np.log(q), label)
    return float(fs.entropy(truth)), float(fs.kl_divergence(truth, q)), float(loss)


def gaussian_log_density(x, mean, std):
    return -0.5 * ((x - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))


def gaussian_nll(x, mean, std):
    """Minus the mean log-likelihood of the points x."""
    return -float(np.mean(gaussian_log_density(x, mean, std)))


def gaussian_entropy(std):
    return 0.5 * math.log(2 * math.pi * math.e * std**2)


def gaussian_kl(mean_p, std_p, mean_q, std_q):
    """KL(N(mean_p, std_p^2) || N(mean_q, std_q^2)) in closed form."""
    return math.log(std_q / std_p) + (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2) - 0.5


def gaussian_kl_by_bins(mean_p, std_p, mean_q, std_q, n_bins=100_000):
    """The same as a sum: with the line cut into narrow bins, each bin is a class."""
    reach = 12 * max(std_p, std_q) + abs(mean_p - mean_q)
    x = np.linspace(mean_p - reach, mean_p + reach, n_bins)
    p = fs.softmax(gaussian_log_density(x, mean_p, std_p))
    q = fs.softmax(gaussian_log_density(x, mean_q, std_q))
    return float(fs.kl_divergence(p, q))


def fit_gaussian(x, n_steps=500, rate=0.1):
    """Gradient descent on the negative log-likelihood over (mean, log std) -> mean, std."""
    mean, log_std = 0.0, 0.0
    for _ in range(n_steps):
        z = (x - mean) / math.exp(log_std)
        mean += rate * float(np.mean(z)) / math.exp(log_std)
        log_std += rate * float(np.mean(z**2) - 1)
    return mean, math.exp(log_std)


def main():
    print("p =", P, " q =", Q)
    there, back = fs.kl_divergence(P, Q), fs.kl_divergence(Q, P)
    print(f"  KL(p || q) = {there:.4f}, KL(q || p) = {back:.4f}: not symmetric")
    smallest, with_itself = smallest_kl()
    print(f"  10,000 random pairs: smallest KL {smallest:.4f}; p with itself {with_itself:.1e}")

    entropy, kl, loss = kl_of_one_hot()
    print("truth (0, 1, 0), prediction q:")
    print(f"  its entropy {entropy:.4f}, KL(truth || q) = {kl:.4f} = cross-entropy {loss:.4f}")

    x = np.random.default_rng(0).normal(2.0, 0.5, size=1000)
    mean, std = float(x.mean()), float(x.std())
    print(f"1000 points of a Gaussian, mean {mean:.4f}, standard deviation {std:.4f}:")
    print("  model (mean, std)     -log likelihood  =  entropy  +  KL(data || model)")
    for m, s in ((0.0, 1.0), (1.5, 0.8), (2.0, 0.6), fit_gaussian(x)):
        nll, kl = gaussian_nll(x, m, s), gaussian_kl(mean, std, m, s)
        print(f"  ({m:.4f}, {s:.4f})      {nll:12.6f}     {gaussian_entropy(std):12.6f} {kl:12.6f}")
    print("  the last is the maximum likelihood fit: KL is 0 there, and nowhere else")


if __name__ == "__main__":
    main()
