package railbus

// How the package is linked: with the static library, which pkg-config finds by the name of railbus-static. A binary
// built so needs no librailbus where it runs.

/*
#cgo pkg-config: railbus-static
#include "shim.h"
*/
import "C"

import "unsafe"

// Version returns the version of the library, such as "0.1.0".
func Version() string { return C.GoString(C.railbus_version()) }

// LayoutFingerprint identifies the layout of shared memory that the library was built for. A channel with another is
// refused with [ErrLayout].
func LayoutFingerprint() uint64 { return uint64(C.railbus_layout_fingerprint()) }

// text is the bytes of a string, for a call that copies them; NULL for none.
func text(of string) (*C.char, C.size_t) {
	if of == "" {
		return nil, 0
	}
	return (*C.char)(unsafe.Pointer(unsafe.StringData(of))), C.size_t(len(of))
}
