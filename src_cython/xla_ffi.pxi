# xla_ffi.h as Cython sees it.

cdef extern from "xla_ffi.h":
    enum: XLA_MAJOR, XLA_MINOR, XLA_METADATA, XLA_EXECUTE, XLA_BUFFER, XLA_ARRAY, XLA_STRING
    enum: XLA_CANCELLED, XLA_INVALID_ARGUMENT, XLA_RESOURCE_EXHAUSTED, XLA_FAILED_PRECONDITION, XLA_INTERNAL
    enum: XLA_S8, XLA_S16, XLA_S32, XLA_S64, XLA_U8, XLA_U16, XLA_U32, XLA_U64, XLA_F16, XLA_F32, XLA_F64, XLA_BF16
    ctypedef struct XlaError "xla_error":
        pass
    ctypedef struct XlaExtension "xla_extension":
        size_t struct_size
        int type
    ctypedef struct XlaVersion "xla_version":
        size_t struct_size
        XlaExtension *extension
        int major, minor
    ctypedef struct XlaErrorArguments "xla_error_arguments":
        size_t struct_size
        XlaExtension *extension
        const char *message
        int code
    ctypedef struct XlaApi "xla_api":
        size_t struct_size
        XlaVersion version
        XlaError *(*make_error)(XlaErrorArguments *) noexcept nogil
    ctypedef struct XlaBuffer "xla_buffer":
        int dtype
        void *data
        int64_t rank
        int64_t *dims
    ctypedef struct XlaSpan "xla_span":
        const char *text
        size_t length
    ctypedef struct XlaArray "xla_array":
        size_t size
        void *data
    ctypedef struct XlaList "xla_list":
        int64_t size
        int *types
        void **items
    ctypedef struct XlaAttributes "xla_attributes":
        int64_t size
        int *types
        void **items
    ctypedef struct XlaFrame "xla_frame":
        size_t struct_size
        XlaExtension *extension
        const XlaApi *api
        int stage
        XlaList arguments, results
        XlaAttributes attributes
    ctypedef struct XlaMetadata "xla_metadata":
        size_t struct_size
        XlaVersion version
        unsigned int traits
        int64_t state_type
    ctypedef struct XlaMetadataExtension "xla_metadata_extension":
        XlaMetadata *metadata
