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

    def _tiles(self, class0, class1):
        """(slice of classes, where they stand in a block, their rows of the classifier as they are computed with)."""
        for start in range(class0, class1, STEP):
            classes = slice(start, min(start + STEP, class1))
            yield classes, slice(start - class0, classes.stop - class0), \
                self.layer.classifier[classes].astype(self.layer.dtype.real, copy=False)

    def logits(self, features, logits, n_rows, class0, class1):
        x = features[:n_rows, :self.layer.classifier.shape[1]]
        for classes, at, w in self._tiles(class0, class1):
            z = np.matmul(x, w.T, out=logits[:n_rows, at])
            if self.layer.bias is not None:
                z += self.layer.bias[classes]

    def dfeatures(self, dlogits, dfeatures, n_rows, class0, class1, first):
        dx = dfeatures[:n_rows, :self.layer.classifier.shape[1]]
        if first:
            dx[...] = 0
        for _, at, w in self._tiles(class0, class1):
            dx += dlogits[:n_rows, at] @ w

    def dclassifier(self, dlogits, features, n_rows, dclassifier, dbias, first):
        x = features[:n_rows, :self.layer.classifier.shape[1]]
        n_classes = len(dbias if dclassifier is None else dclassifier)
        for start in range(0, n_classes, STEP):
            classes = slice(start, min(start + STEP, n_classes))
            dz = dlogits[:n_rows, classes]
            if dbias is not None:
                _add(dbias[classes], np.sum(dz, axis=0), first)
            if dclassifier is not None:
                _add(dclassifier[classes], dz.T @ x, first)


def _add(out, values, first):
    """out = values, or out += values added in the dtype of the values."""
    out[...] = values if first else out.astype(values.dtype, copy=False) + values
