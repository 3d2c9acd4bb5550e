package awsfake

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
)

type pageInput struct {
	KeyId, Marker string
	Limit         *int
}

// page cuts a page out of names in their order; the marker is the last name of the page before.
func page(names []string, in pageInput, standard, most int) (part []string, next string, err error) {
	limit := standard
	if in.Limit != nil {
		limit = *in.Limit
	}
	if limit < 1 || limit > most {
		return nil, "", invalid("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value between 1 and %d", limit, most)
	}
	start := 0
	if in.Marker != "" {
		last, err := base64.RawURLEncoding.DecodeString(in.Marker)
		if err != nil {
			return nil, "", refuse("InvalidMarkerException", "Could not deserialize marker '%s'", in.Marker)
		}
		at, exact := slices.BinarySearch(names, string(last))
		if start = at; exact {
			start++
		}
	}
	end := min(start+limit, len(names))
	if end < len(names) {
		next = base64.RawURLEncoding.EncodeToString([]byte(names[end-1]))
	}
	return names[start:end], next, nil
}

type keyEntry struct{ KeyId, KeyArn string }

type listKeysOutput struct {
	Keys       []keyEntry
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

func (k *KMS) listKeys(in pageInput) (listKeysOutput, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ids, next, err := page(k.order, in, 100, 1000)
	out := listKeysOutput{Keys: []keyEntry{}, NextMarker: next, Truncated: next != ""}
	for _, id := range ids {
		out.Keys = append(out.Keys, keyEntry{id, k.arn(id)})
	}
	return out, err
}

type aliasEntry struct{ AliasName, AliasArn, TargetKeyId string }

type listAliasesOutput struct {
	Aliases    []aliasEntry
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

func (k *KMS) listAliases(in pageInput) (listAliasesOutput, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := slices.Sorted(maps.Keys(k.aliases))
	if in.KeyId != "" {
		found, err := k.find(in.KeyId, false)
		if err != nil {
			return listAliasesOutput{}, err
		}
		names = slices.DeleteFunc(names, func(name string) bool { return k.aliases[name] != found.id })
	}
	part, next, err := page(names, in, 50, 100)
	out := listAliasesOutput{Aliases: []aliasEntry{}, NextMarker: next, Truncated: next != ""}
	for _, name := range part {
		out.Aliases = append(out.Aliases, aliasEntry{name, "arn:aws:kms:" + k.Region + ":" + Account + ":" + name, k.aliases[name]})
	}
	return out, err
}

type listTagsOutput struct {
	Tags       []tag
	NextMarker string `json:",omitempty"`
	Truncated  bool
}

func (k *KMS) listResourceTags(in pageInput) (listTagsOutput, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.find(in.KeyId, false)
	if err != nil {
		return listTagsOutput{}, err
	}
	tags := map[string]tag{}
	for _, t := range found.tags {
		tags[t.TagKey] = t
	}
	part, next, err := page(slices.Sorted(maps.Keys(tags)), in, 50, 50)
	out := listTagsOutput{Tags: []tag{}, NextMarker: next, Truncated: next != ""}
	for _, name := range part {
		out.Tags = append(out.Tags, tags[name])
	}
	return out, err
}

type aliasInput struct{ AliasName, TargetKeyId string }

type none struct{}

func (k *KMS) createAlias(in aliasInput) (none, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !aliasName.MatchString(in.AliasName) || len(in.AliasName) > 256:
		return none{}, refuse("InvalidAliasNameException", "Invalid alias name '%s'", in.AliasName)
	case strings.HasPrefix(in.AliasName, "alias/aws/"):
		return none{}, refuse("NotAuthorizedException", "the prefix alias/aws/ is reserved")
	}
	found, err := k.find(in.TargetKeyId, false)
	if err != nil {
		return none{}, err
	}
	if found.state == "PendingDeletion" {
		return none{}, k.ready(found)
	}
	if _, ok := k.aliases[in.AliasName]; ok {
		return none{}, refuse("AlreadyExistsException", "An alias with the name arn:aws:kms:%s:%s:%s already exists", k.Region, Account, in.AliasName)
	}
	k.aliases[in.AliasName] = found.id
	return none{}, nil
}

func (k *KMS) deleteAlias(in aliasInput) (none, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.aliases[in.AliasName]; !ok {
		return none{}, refuse("NotFoundException", "Alias arn:aws:kms:%s:%s:%s is not found.", k.Region, Account, in.AliasName)
	}
	delete(k.aliases, in.AliasName)
	return none{}, nil
}

type tagInput struct {
	KeyId string
	Tags  []tag
}

func (k *KMS) tagResource(in tagInput) (none, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.find(in.KeyId, false)
	if err != nil {
		return none{}, err
	}
	if err := checkTags(in.Tags); err != nil {
		return none{}, err
	}
	found.tags = append(slices.DeleteFunc(found.tags, func(old tag) bool {
		return slices.ContainsFunc(in.Tags, func(t tag) bool { return t.TagKey == old.TagKey })
	}), in.Tags...)
	return none{}, nil
}
