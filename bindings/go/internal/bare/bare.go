// Package bare is the yardstick of the benchmarks: a call of C that does nothing, with the arguments of
// railbus_publish and declared to the compiler in the same way.
package bare

/*
#include <stdint.h>
#include <stddef.h>

typedef struct bare_answer {
    uint64_t value;
    int32_t result;
} bare_answer;

static bare_answer __attribute__((noinline)) bare_call(void *handle, const uint8_t *payload, size_t payload_bytes,
                                                       uint64_t timeout_ns, uint64_t *error) {
    (void)handle, (void)payload, (void)error;
    bare_answer answer = {payload_bytes + timeout_ns, 0};
    return answer;
}

#cgo noescape bare_call
#cgo nocallback bare_call
*/
import "C"

import "unsafe"

// Call calls C, which does nothing.
func Call(payload []byte) uint64 {
	var told C.uint64_t
	answer := C.bare_call(nil, (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(payload))), C.size_t(len(payload)), 0, &told)
	return uint64(answer.value)
}
