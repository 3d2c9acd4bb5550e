package grpcwire

import "unsafe"

// bytesPointer is where a slice that is not empty begins.
func bytesPointer(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
