package main

/*
#include <stdlib.h>
*/
import "C"

import (
	"unsafe"

	"github.com/anyhsm/anyhsm/p11module/internal/config"
)

func init() { config.Environment = environment }

// environment asks C, which knows what the host has set since it started.
func environment(name string) string {
	key := C.CString(name)
	defer C.free(unsafe.Pointer(key))
	if value := C.getenv(key); value != nil {
		return C.GoString(value)
	}
	return ""
}
