"""A vocabulary in shards: each worker holds the logits of some classes, and nobody ever those of all.

What the workers send each other is a RowState, a dozen numbers a row, whatever the number of classes. Here they are threads
of one process. With mpi4py, `gathered` is `MPI.COMM_WORLD.allgather`, and nothing else changes.
"""

import threading

import numpy as np

import fastsoftmax as fs

N_ROWS, N_CLASSES, N_WORKERS = 64, 10_000, 4


class Gathering:
    """What MPI's allgather does, for threads: everyone gives one thing, everyone gets all, in the order of the workers."""

    def __init__(self, n_workers):
        self.slots, self.barrier = [None] * n_workers, threading.Barrier(n_workers)

    def __call__(self, worker, item):
        self.slots[worker] = item
        self.barrier.wait()
        found = list(self.slots)
        self.barrier.wait()  # nobody gives the next thing before all have this one
        return found


def work(worker, logits, labels, offset, gathered):
    """One worker's part of a training step: everyone knows the scores of all rows, and the gradient of the own logits."""
    own = fs.row_state(logits, labels, shard_offset=offset, top_k=5)
    state = fs.merge_states(gathered(worker, own))  # the same everywhere, to the bit
    before = gathered(worker, fs.rank_counts(logits, state, shard_offset=offset))
    dlogits = fs.shard_cross_entropy_grad(logits, state, shard_offset=offset, dlosses=1 / len(labels))
    return state.scores(sum(before)), dlogits


def draw(worker, logits, state, offset, rng, gathered):
    """One class a row from the softmax over all shards: everyone draws one of the own classes, the highest number wins.

    Numbers are the log of a shard's mass plus Gumbel noise, whose largest is in each shard as often as its mass wants it.
    """
    height = state.lse() + rng.gumbel(size=logits.shape[:-1])
    heights, ids = zip(*gathered(worker, (height, fs.sample(logits, rng) + offset)), strict=True)
    return np.choose(np.argmax(heights, axis=0), ids)


def in_parallel(function, n_workers):
    """function(worker) by a thread each -> what they return."""
    found = [None] * n_workers

    def run(worker):
        found[worker] = function(worker)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in range(n_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def step(logits, labels, n_workers=N_WORKERS):
    """(the scores as each worker knows them, the gradients of the shards)."""
    cuts = np.linspace(0, logits.shape[1], n_workers + 1).astype(int)
    gathered = Gathering(n_workers)

    def one(worker):
        start, stop = cuts[worker], cuts[worker + 1]
        return work(worker, np.ascontiguousarray(logits[:, start:stop]), labels, start, gathered)

    return tuple(zip(*in_parallel(one, n_workers), strict=True))


def sample(logits, n_workers=N_WORKERS, seed=0):
    """The classes drawn, as each worker knows them."""
    cuts = np.linspace(0, logits.shape[1], n_workers + 1).astype(int)
    gathered = Gathering(n_workers)

    def one(worker):
        part = logits[:, cuts[worker]:cuts[worker + 1]]
        return draw(worker, part, fs.row_state(part), cuts[worker], np.random.default_rng([seed, worker]), gathered)

    return in_parallel(one, n_workers)


def main():
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(N_ROWS, N_CLASSES))).astype(np.float32)
    labels = rng.integers(0, N_CLASSES, N_ROWS)
    scores, gradients = step(logits, labels)
    whole, dense = fs.score(logits, labels, top_k=5), fs.cross_entropy_and_grad(logits, labels)
    print(f"{N_WORKERS} workers with {N_CLASSES // N_WORKERS:,} classes each")
    print(f"mean loss {scores[0].losses.mean():.6f}, of the whole {dense.loss:.6f}")
    print("ranks are the same:", bool((scores[0].ranks == whole.ranks).all()),
          " likeliest classes too:", bool((scores[0].top_ids == whole.top_ids).all()))
    print(f"largest difference of a gradient: {np.abs(np.concatenate(gradients, axis=1) - dense.dlogits).max():.1e}")
    print("classes drawn for the first rows:", sample(logits)[0][:5])


if __name__ == "__main__":
    main()
