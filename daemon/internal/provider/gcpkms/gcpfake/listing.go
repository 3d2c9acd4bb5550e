package gcpfake

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// page cuts a page out of names in their order. A token is the last name of the page before.
func page(names []string, size int32, token string) (part []string, next string, err error) {
	const usual, most = 100, 1000
	if size <= 0 {
		size = usual
	}
	begin := 0
	if token != "" {
		last, err := base64.URLEncoding.DecodeString(token)
		if err != nil {
			return nil, "", refuse(codes.InvalidArgument, "The page token is not valid.")
		}
		begin, _ = slices.BinarySearch(names, string(last)+"\x00")
	}
	end := min(len(names), begin+int(min(size, most)))
	if end < len(names) {
		next = base64.URLEncoding.EncodeToString([]byte(names[end-1]))
	}
	return names[begin:end], next, nil
}

// ListCryptoKeys lists the keys of the key ring.
func (k *KMS) ListCryptoKeys(_ context.Context, in *kmspb.ListCryptoKeysRequest) (*kmspb.ListCryptoKeysResponse, error) {
	if err := ring(in.GetParent()); err != nil {
		return nil, err
	}
	if in.GetFilter() != "" || in.GetOrderBy() != "" {
		return nil, refuse(codes.Unimplemented, "This fake has no filter and no order.")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	names, next, err := page(slices.Sorted(maps.Keys(k.keys)), in.GetPageSize(), in.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &kmspb.ListCryptoKeysResponse{NextPageToken: next, TotalSize: int32(len(k.keys))}
	for _, name := range names {
		out.CryptoKeys = append(out.CryptoKeys, proto.CloneOf(k.keys[name].meta))
	}
	return out, nil
}

// ListCryptoKeyVersions lists the versions of a key.
func (k *KMS) ListCryptoKeyVersions(_ context.Context, in *kmspb.ListCryptoKeyVersionsRequest) (*kmspb.ListCryptoKeyVersionsResponse, error) {
	if in.GetFilter() != "" || in.GetOrderBy() != "" {
		return nil, refuse(codes.Unimplemented, "This fake has no filter and no order.")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.keys[in.GetParent()]
	if c == nil {
		return nil, refuse(codes.NotFound, "CryptoKey %s not found.", in.GetParent())
	}
	byName := map[string]*version{}
	for _, v := range c.versions {
		byName[v.meta.GetName()] = v
	}
	names, next, err := page(slices.Sorted(maps.Keys(byName)), in.GetPageSize(), in.GetPageToken())
	if err != nil {
		return nil, err
	}
	out := &kmspb.ListCryptoKeyVersionsResponse{NextPageToken: next, TotalSize: int32(len(c.versions))}
	for _, name := range names {
		out.CryptoKeyVersions = append(out.CryptoKeyVersions, proto.CloneOf(byName[name].meta))
	}
	return out, nil
}
