package railbus

// How the package is linked: with the static library, which pkg-config finds by the name of
// railbus-static. Such a binary needs no librailbus where it runs.

/*
#cgo pkg-config: railbus-static
#include "shim.h"
*/
import "C"

import "unsafe"

// Version returns the version of the library, such as "0.1.0".
func Version() string { return C.GoString(C.railbus_version()) }

// LayoutFingerprint identifies the layout of shared memory that the library was built for. A channel with
// another fingerprint is refused with [ErrLayout].
func LayoutFingerprint() uint64 { return uint64(C.railbus_layout_fingerprint()) }

// EndIfTruncated makes this process end with exitCode (1 to 255) when it touches a channel's file that
// was truncated. It counts for files that are opened from now on. A message on standard error names the
// file. No deferred function runs. Without this call the process ends by SIGBUS instead. It replaces the
// process's handler of SIGBUS, which still gets the signals about other addresses: call it once, before
// channels are opened.
func EndIfTruncated(exitCode uint32) error {
	if exitCode == 0 {
		return invalid("exit code 0: must be 1 to 255")
	}
	var told C.railbus_error
	return failed(C.railbus_go_end_if_truncated(C.uint32_t(exitCode), &told), &told)
}

// text is the bytes of a string, for a call that copies them; NULL for none.
func text(of string) (*C.char, C.size_t) {
	if of == "" {
		return nil, 0
	}
	return (*C.char)(unsafe.Pointer(unsafe.StringData(of))), C.size_t(len(of))
}
