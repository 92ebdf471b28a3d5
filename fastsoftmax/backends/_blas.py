"""[1] The products of a linear layer by NumPy's BLAS, some classes at a time, for backends without their own."""

import numpy as np

STEP = 1024  # classes at a time: what is copied or added up apart stays small


def products(layer, n_threads):
    """See contract.Layer. The threads are BLAS's own."""
    return Products(layer)


class Products:
    """Blocks of an array, multiplied STEP classes at a time."""

    def __init__(self, layer):
        self.layer = layer

    def _tiles(self, n_classes):
        """Which columns of a block are multiplied at a time: slices, or indices."""
        return [slice(start, min(start + STEP, n_classes)) for start in range(0, n_classes, STEP)]

    def _classifier(self, class0, at):
        """Rows of the classifier as they are computed with."""
        rows = slice(class0 + at.start, class0 + at.stop) if isinstance(at, slice) else class0 + at
        return self.layer.classifier[rows].astype(self.layer.dtype.real, copy=False)

    def logits(self, features, logits, n_rows, class0, class1):
        x = features[:n_rows, :self.layer.classifier.shape[1]]
        for at in self._tiles(class1 - class0):
            z = np.matmul(x, self._classifier(class0, at).T, out=logits[:n_rows, at])
            if self.layer.bias is not None:
                z += self.layer.bias[class0 + at.start:class0 + at.stop]

    def dfeatures(self, dlogits, dfeatures, n_rows, class0, class1, first):
        dx = dfeatures[:n_rows, :self.layer.classifier.shape[1]]
        if first:
            dx[...] = 0
        for at in self._tiles(class1 - class0):
            dx += dlogits[:n_rows, at] @ self._classifier(class0, at)

    def dclassifier(self, dlogits, features, n_rows, dclassifier, dbias, first):
        x = features[:n_rows, :self.layer.classifier.shape[1]]
        if dbias is not None:
            for at in Products._tiles(self, len(dbias)):
                _add(dbias, at, np.sum(dlogits[:n_rows, at], axis=0), first)
        if dclassifier is not None:
            for at in self._tiles(len(dclassifier)):
                _add(dclassifier, at, dlogits[:n_rows, at].T @ x, first)

    def class_norms(self):
        norms = np.empty(len(self.layer.classifier), self.layer.dtype.real)
        for at in self._tiles(len(norms)):
            w = self._classifier(0, at)
            norms[at] = np.sqrt(np.einsum("kj,kj->k", w, w))
        return norms

    def filtered(self, *block):
        return Filtered(self.layer, *block)


class Filtered(Products):
    """A block of dlogits without the classes that are negligible in all of its rows."""

    def __init__(self, layer, dlogits, n_rows, class0, class1, limits, row_norms, class_norms, most):
        super().__init__(layer)
        n_classes = class1 - class0
        self.dropped = np.zeros((n_rows, 2))
        self.by_class = np.zeros(n_classes, layer.dtype.real)
        self._kept, self.n_kept = [], 0
        for at in super()._tiles(n_classes):
            size = np.abs(dlogits[:n_rows, at])
            kept = np.flatnonzero(~(size < limits[:, None]).all(axis=0))
            if len(kept) > most * size.shape[1]:
                self._kept.append(at)
                self.n_kept += size.size
                continue
            self._kept.append(at.start + kept)
            self.n_kept += len(kept) * n_rows
            size[:, kept] = 0
            self.dropped += np.stack([size.sum(axis=1), size @ class_norms[class0:class1][at]], axis=1)
            self.by_class[at] = row_norms @ size

    def _tiles(self, n_classes):
        return [at for at in self._kept if isinstance(at, slice) or len(at)]

    def dclassifier(self, dlogits, features, n_rows, dclassifier, dbias, first):
        if first and dclassifier is not None:
            dclassifier[...] = 0
        super().dclassifier(dlogits, features, n_rows, dclassifier, dbias, first)


def _add(out, at, values, first):
    """out[at] = values, or out[at] += values added in the dtype of the values."""
    out[at] = values if first else out[at].astype(values.dtype, copy=False) + values
