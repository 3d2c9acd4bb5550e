package hsm

// #cgo CFLAGS: -I${SRCDIR}/../../../../include
// #cgo LDFLAGS: -ldl
// #include <dlfcn.h>
// #include <stdlib.h>
// #include "pkcs11.h"
//
// static CK_FUNCTION_LIST *functions(const char *path)
// {
// 	CK_FUNCTION_LIST *list = NULL;
// 	void *library = dlopen(path, RTLD_LAZY);
// 	CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : NULL;
// 	return get && get(&list) == CKR_OK ? list : NULL;
// }
//
// static CK_RV encrypt(CK_FUNCTION_LIST *list, CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_size, CK_BYTE *out, CK_ULONG *out_size)
// {
// 	return list->C_Encrypt(session, in, in_size, out, out_size);
// }
//
// static CK_RV wrap(CK_FUNCTION_LIST *list, CK_SESSION_HANDLE session, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key, CK_BYTE *iv, CK_ULONG iv_size, CK_BYTE *out, CK_ULONG *out_size)
// {
// 	CK_MECHANISM mechanism = { type, iv, iv_size };
// 	return list->C_WrapKey(session, &mechanism, wrapping, key, out, out_size);
// }
import "C"

import (
	"unsafe"

	"github.com/miekg/pkcs11"
)

// roomy has the functions that the binding calls twice, to ask for the size first: NSS then leaves out GCM's tag and what a key
// wrap adds, and refuses the second call. Here the caller gives room enough, which also saves a call to the HSM.
type roomy struct {
	*pkcs11.Ctx
	functions *C.CK_FUNCTION_LIST
}

// newRoomy finds the functions of a library that the binding has loaded, so this is the same copy of it; nil if there
// are none.
func newRoomy(context *pkcs11.Ctx, path string) client {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	functions := C.functions(name)
	if functions == nil {
		return nil
	}
	return roomy{context, functions}
}

// Encrypt is C_Encrypt with room for a result of some bytes.
func (r roomy) Encrypt(s pkcs11.SessionHandle, plaintext []byte, room int) ([]byte, error) {
	out, size := make([]byte, room), C.CK_ULONG(room)
	in := plaintext
	if len(in) == 0 {
		in = []byte{0} // some libraries take no null pointer for an empty message
	}
	rv := C.encrypt(r.functions, C.CK_SESSION_HANDLE(s), (*C.CK_BYTE)(&in[0]), C.CK_ULONG(len(plaintext)), (*C.CK_BYTE)(&out[0]), &size)
	return given(rv, out, size)
}

// WrapKey is C_WrapKey by a mechanism whose parameter is an initialisation vector, or nothing, with room for a result of some bytes.
func (r roomy) WrapKey(s pkcs11.SessionHandle, mechanism uint, iv []byte, wrapping, key pkcs11.ObjectHandle, room int) ([]byte, error) {
	out, size := make([]byte, room), C.CK_ULONG(room)
	rv := C.wrap(r.functions, C.CK_SESSION_HANDLE(s), C.CK_MECHANISM_TYPE(mechanism), C.CK_OBJECT_HANDLE(wrapping), C.CK_OBJECT_HANDLE(key),
		(*C.CK_BYTE)(unsafe.SliceData(iv)), C.CK_ULONG(len(iv)), (*C.CK_BYTE)(&out[0]), &size)
	return given(rv, out, size)
}

// given is the result of a function that had room for out.
func given(rv C.CK_RV, out []byte, size C.CK_ULONG) ([]byte, error) {
	if rv != C.CKR_OK {
		return nil, pkcs11.Error(rv)
	}
	return out[:min(int(size), len(out))], nil
}
