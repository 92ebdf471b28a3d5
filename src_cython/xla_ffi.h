/* The part of XLA's FFI (foreign function interface) that a CPU handler needs, version 0.1 and later of its C ABI.
 *
 * XLA calls a handler with a call frame: what the runtime offers, then arguments, results and attributes, each list a count,
 * a kind for each entry and a pointer to it. Every struct begins with its size and a chain of extensions; later minor versions
 * only append fields, so what stands here stays where it is while the major version is 0. Attributes are sorted by name.
 * A handler is first called with a frame that has a metadata extension, into which it writes the version that it was made for.
 *
 * Written down here so that a wheel needs no headers of XLA to be built; tests/adapters/test_jax_abi.py holds sizes and places
 * against the header that jaxlib ships (xla/ffi/api/c_api.h). */
#ifndef FASTSOFTMAX_XLA_FFI_H
#define FASTSOFTMAX_XLA_FFI_H

#include <stddef.h>
#include <stdint.h>

enum { XLA_MAJOR = 0, XLA_MINOR = 3 }; /* the latest version that this was held against */
enum { XLA_METADATA = 1 };             /* kind of an extension */
enum { XLA_EXECUTE = 3 };              /* stage of a call */
enum { XLA_BUFFER = 1 };               /* kind of an argument or a result */
enum { XLA_ARRAY = 1, XLA_STRING = 4 }; /* kinds of an attribute: an xla_array, an xla_span */
enum {                                 /* codes of errors */
    XLA_CANCELLED = 1, XLA_INVALID_ARGUMENT = 3, XLA_RESOURCE_EXHAUSTED = 8, XLA_FAILED_PRECONDITION = 9, XLA_INTERNAL = 13
};
enum {                                 /* dtypes */
    XLA_S8 = 2, XLA_S16 = 3, XLA_S32 = 4, XLA_S64 = 5, XLA_U8 = 6, XLA_U16 = 7, XLA_U32 = 8, XLA_U64 = 9,
    XLA_F16 = 10, XLA_F32 = 11, XLA_F64 = 12, XLA_BF16 = 16
};

typedef struct xla_error xla_error;    /* NULL: none. Who gets one frees it: here always XLA */

typedef struct xla_extension {
    size_t struct_size;
    int type;
    struct xla_extension *next;
} xla_extension;

typedef struct {
    size_t struct_size;
    xla_extension *extension;
    int major, minor;
} xla_version;

typedef struct {
    size_t struct_size;
    xla_extension *extension;
    const char *message;               /* copied */
    int code;
} xla_error_arguments;

typedef struct {
    size_t struct_size;
    xla_extension *extension;
    xla_version version;
    const void *internal;
    xla_error *(*make_error)(xla_error_arguments *);
} xla_api;

typedef struct {
    size_t struct_size;
    xla_extension *extension;
    int dtype;
    void *data;
    int64_t rank;
    int64_t *dims;                     /* row-major, close together */
} xla_buffer;

typedef struct {
    const char *text;                  /* not ended by a zero */
    size_t length;
} xla_span;

typedef struct {
    int dtype;
    size_t size;
    void *data;
} xla_array;

typedef struct {
    size_t struct_size;
    xla_extension *extension;
    int64_t size;
    int *types;
    void **items;
} xla_list;                            /* of arguments, and of results */

typedef struct {
    size_t struct_size;
    xla_extension *extension;
    int64_t size;
    int *types;
    xla_span **names;
    void **items;
} xla_attributes;

typedef struct {
    size_t struct_size;
    xla_extension *extension;
    const xla_api *api;
    void *context;
    int stage;
    xla_list arguments, results;
    xla_attributes attributes;
} xla_frame;

typedef struct {
    size_t struct_size;
    xla_version version;
    uint32_t traits;
    int64_t state_type;                /* since version 0.2, and not counted in struct_size */
} xla_metadata;

typedef struct {
    xla_extension base;
    xla_metadata *metadata;
} xla_metadata_extension;

#endif
