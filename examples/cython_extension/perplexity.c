/* exp(mean loss) in plain C, the rows shared out among threads that know nothing of Python. */
#include <Python.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include <fastsoftmax.h>

enum { MOST_THREADS = 16 };

static const fastsoftmax_api *fs;

typedef struct {
    const float *logits;
    const int64_t *labels;
    double *losses;
    int64_t row, n_rows, n_classes, status; /* the first row, and how many */
} share;

static void *compute(void *argument) {
    share *s = argument;
    s->status = fs->cross_entropy(FASTSOFTMAX_FLOAT32, s->n_rows, s->n_classes, s->logits, s->n_classes, s->labels, s->losses,
                                  NULL, NULL, 0, NULL);
    return NULL;
}

/* FASTSOFTMAX_OK, the first row whose label is wrong, or another status. */
static int64_t share_out(const share *all, int n_threads) {
    pthread_t threads[MOST_THREADS];
    int started[MOST_THREADS];
    share shares[MOST_THREADS];
    int64_t status = FASTSOFTMAX_OK;
    for (int t = 0; t < n_threads; t++) {
        int64_t row = all->n_rows * t / n_threads, end = all->n_rows * (t + 1) / n_threads;
        shares[t] = (share){all->logits + row * all->n_classes, all->labels + row, all->losses + row, row, end - row,
                            all->n_classes, FASTSOFTMAX_OK};
        started[t] = !pthread_create(&threads[t], NULL, compute, &shares[t]);
        if (!started[t]) compute(&shares[t]);
    }
    for (int t = 0; t < n_threads; t++) {
        if (started[t]) pthread_join(threads[t], NULL);
        if (status == FASTSOFTMAX_OK && shares[t].status != FASTSOFTMAX_OK)
            status = shares[t].status + (shares[t].status >= 0 ? shares[t].row : 0);
    }
    return status;
}

static PyObject *perplexity_of(const Py_buffer *logits, const Py_buffer *labels, int n_threads) {
    double *losses = malloc(logits->shape[0] * sizeof *losses), total = 0;
    share all = {logits->buf, labels->buf, losses, 0, logits->shape[0], logits->shape[1], FASTSOFTMAX_OK};
    if (!losses) return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    all.status = share_out(&all, n_threads);
    for (int64_t i = 0; i < all.n_rows && all.status == FASTSOFTMAX_OK; i++) total += losses[i];
    Py_END_ALLOW_THREADS
    free(losses);
    if (all.status >= 0) return PyErr_Format(PyExc_IndexError, "labels[%lld] is out of range", (long long)all.status);
    if (all.status == FASTSOFTMAX_OK) return PyFloat_FromDouble(exp(total / all.n_rows));
    PyErr_SetString(PyExc_ValueError, fastsoftmax_status_text(all.status));
    return NULL;
}

static PyObject *perplexity(PyObject *module, PyObject *arguments) {
    PyObject *result = NULL, *given[2];
    Py_buffer logits, labels;
    int n_threads = 1;
    if (!PyArg_ParseTuple(arguments, "OO|i", &given[0], &given[1], &n_threads)) return NULL;
    if (PyObject_GetBuffer(given[0], &logits, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return NULL;
    if (!PyObject_GetBuffer(given[1], &labels, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) {
        if (logits.ndim != 2 || strcmp(logits.format, "f") || labels.ndim != 1 || labels.itemsize != 8
            || !strchr("lq", labels.format[0]) || labels.shape[0] != logits.shape[0] || logits.shape[0] == 0
            || n_threads < 1 || n_threads > MOST_THREADS)
            PyErr_SetString(PyExc_ValueError, "perplexity(logits (n_rows, n_classes) float32, labels (n_rows,) int64, "
                            "1 to 16 threads)");
        else result = perplexity_of(&logits, &labels, n_threads);
        PyBuffer_Release(&labels);
    }
    PyBuffer_Release(&logits);
    return result;
}

static PyMethodDef functions[] = {
    {"perplexity", perplexity, METH_VARARGS, "perplexity(logits, labels, n_threads=1) -> exp(mean loss)"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "perplexity", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_perplexity(void) {
    fs = fastsoftmax_import();
    return fs ? PyModule_Create(&definition) : NULL;
}
