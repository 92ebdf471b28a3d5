"""src_cython/xla_ffi.h against the header of XLA's that the installed jaxlib brings: every size, place and number."""

import shutil
import subprocess
from pathlib import Path

import pytest

ffi = pytest.importorskip("jax.ffi")
OURS = Path(__file__).resolve().parents[2] / "src_cython"

STRUCTS = {  # ours: theirs, {our field: theirs}
    "xla_extension": ("XLA_FFI_Extension_Base", "struct_size type next"),
    "xla_version": ("XLA_FFI_Api_Version", "struct_size extension:extension_start major:major_version minor:minor_version"),
    "xla_error_arguments": ("XLA_FFI_Error_Create_Args", "struct_size extension:extension_start message code:errc"),
    "xla_api": ("XLA_FFI_Api", "struct_size extension:extension_start version:api_version internal:internal_api "
                               "make_error:XLA_FFI_Error_Create"),
    "xla_buffer": ("XLA_FFI_Buffer", "struct_size extension:extension_start dtype data rank dims"),
    "xla_span": ("XLA_FFI_ByteSpan", "text:ptr length:len"),
    "xla_array": ("XLA_FFI_Array", "dtype size data"),
    "xla_list": ("XLA_FFI_Args", "struct_size extension:extension_start size types items:args"),
    "xla_attributes": ("XLA_FFI_Attrs", "struct_size extension:extension_start size types names items:attrs"),
    "xla_frame": ("XLA_FFI_CallFrame", "struct_size extension:extension_start api context:ctx stage arguments:args "
                                       "results:rets attributes:attrs"),
    "xla_metadata": ("XLA_FFI_Metadata", "struct_size version:api_version traits"),
    "xla_metadata_extension": ("XLA_FFI_Metadata_Extension", "base:extension_base metadata"),
}
WHOLE = ("xla_extension", "xla_version", "xla_error_arguments", "xla_buffer", "xla_span", "xla_array", "xla_list",
         "xla_attributes", "xla_metadata_extension")  # handed over whole; of the others, a beginning
NUMBERS = {
    "XLA_MAJOR": "XLA_FFI_API_MAJOR", "XLA_METADATA": "XLA_FFI_Extension_Metadata",
    "XLA_EXECUTE": "XLA_FFI_ExecutionStage_EXECUTE", "XLA_BUFFER": "XLA_FFI_ArgType_BUFFER",
    "XLA_ARRAY": "XLA_FFI_AttrType_ARRAY", "XLA_STRING": "XLA_FFI_AttrType_STRING",
    "XLA_CANCELLED": "XLA_FFI_Error_Code_CANCELLED", "XLA_INTERNAL": "XLA_FFI_Error_Code_INTERNAL",
    "XLA_INVALID_ARGUMENT": "XLA_FFI_Error_Code_INVALID_ARGUMENT",
    "XLA_RESOURCE_EXHAUSTED": "XLA_FFI_Error_Code_RESOURCE_EXHAUSTED",
    "XLA_FAILED_PRECONDITION": "XLA_FFI_Error_Code_FAILED_PRECONDITION",
} | {f"XLA_{name}": f"XLA_FFI_DataType_{name}"
     for name in "S8 S16 S32 S64 U8 U16 U32 U64 F16 F32 F64 BF16".split()}
SINCE_2 = "offsetof(xla_metadata, state_type) == offsetof(XLA_FFI_Metadata, state_type_id)"


def claims():
    """C conditions that must hold."""
    for ours, (theirs, fields) in STRUCTS.items():
        if ours in WHOLE:
            yield f"sizeof({ours}) == sizeof({theirs})"
        for field in fields.split():
            mine, _, other = field.partition(":")
            other = other or mine
            yield f"offsetof({ours}, {mine}) == offsetof({theirs}, {other})"
            if not (ours in ("xla_api", "xla_frame") and mine in ("version", "make_error")):
                yield f"sizeof((({ours} *)0)->{mine}) == sizeof((({theirs} *)0)->{other})"
    for ours, theirs in NUMBERS.items():
        yield f"{ours} == {theirs}"
    yield "sizeof(xla_list) == sizeof(XLA_FFI_Rets)"
    yield "sizeof(xla_frame) == XLA_FFI_CallFrame_STRUCT_SIZE"


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
@pytest.mark.skipif(not OURS.exists(), reason="the sources are not installed")
def test_the_layout_is_that_of_the_installed_header(tmp_path):
    source = tmp_path / "claims.c"
    text = ['#include "xla/ffi/api/c_api.h"', '#include "xla_ffi.h"']
    if "XLA_FFI_InternalExtension" in (Path(ffi.include_dir()) / "xla/ffi/api/c_api.h").read_text():
        text += ["#define XLA_FFI_Extension_Base XLA_FFI_InternalExtension"]  # its name of late
    text += [f'_Static_assert({claim}, "{claim}");' for claim in claims()]
    text += ["#if XLA_FFI_API_MINOR >= 2", f'_Static_assert({SINCE_2}, "{SINCE_2}");', "#endif"]
    source.write_text("\n".join(text) + "\n")
    command = ["gcc", "-std=c11", "-fsyntax-only", f"-I{ffi.include_dir()}", f"-I{OURS}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
