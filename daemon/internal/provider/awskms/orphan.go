package awskms

import (
	"context"
	"errors"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// orphanage finds keys that were made for an object and have no alias yet, because the answer to CreateKey was lost:
// AWS has no idempotency token for it. What was learnt about a key is kept, so that after the first time only the list of
// keys is read (one call per thousand keys), and the tags of those that are new in it.
type orphanage struct {
	mu sync.Mutex
	// uids has the uid in a key's tags, empty for a key that has an alias or is not ours.
	uids map[string]string
}

// find returns the ids of the keys that carry an object's uid in their tags and have no alias of ours.
func (o *orphanage) find(ctx context.Context, p *Provider, uid string) (ids []string, err error) {
	listed, err := p.keyIDs(ctx)
	if err != nil {
		return nil, err
	}
	if !o.began() {
		aliased, err := p.aliased(ctx)
		if err != nil {
			return nil, err
		}
		o.begin(aliased)
	}
	// What is learnt stays, also when the deadline comes first: in an account of 20,000 keys without aliases the next
	// attempt goes on from there.
	_, err = parallel(ctx, o.unknown(listed), func(ctx context.Context, id string) (struct{}, error) {
		uid, err := p.uidOf(ctx, id)
		if err == nil && uid != nil {
			o.learn(id, *uid)
		}
		return struct{}{}, err
	})
	if err != nil {
		return nil, err
	}
	return o.of(uid, listed), nil
}

func (o *orphanage) began() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.uids != nil
}

// begin takes the keys that have an alias.
func (o *orphanage) begin(aliased map[string]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.uids == nil {
		o.uids = aliased
	}
}

// unknown returns those of some keys of which nothing is known.
func (o *orphanage) unknown(listed []string) (ids []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range listed {
		if _, ok := o.uids[id]; !ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func (o *orphanage) learn(id, uid string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.uids[id]; !ok {
		o.uids[id] = uid
	}
}

// of returns those of some keys that carry a uid.
func (o *orphanage) of(uid string, listed []string) (ids []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range listed {
		if o.uids[id] == uid {
			ids = append(ids, id)
		}
	}
	return ids
}

// named tells that a key has its alias now.
func (o *orphanage) named(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.uids != nil {
		o.uids[id] = ""
	}
}

// keyIDs lists all keys of the account and region.
func (p *Provider) keyIDs(ctx context.Context) (ids []string, err error) {
	in := &kms.ListKeysInput{Limit: aws.Int32(1000)}
	for {
		page, err := call(ctx, p, "ListKeys", "*", p.client.ListKeys, in)
		if err != nil {
			return nil, err
		}
		for _, k := range page.Keys {
			ids = append(ids, aws.ToString(k.KeyId))
		}
		if !page.Truncated {
			return ids, nil
		}
		in.Marker = page.NextMarker
	}
}

// aliased returns the keys that have an alias: what has one was made to its end.
func (p *Provider) aliased(ctx context.Context) (map[string]string, error) {
	known := map[string]string{}
	in := &kms.ListAliasesInput{Limit: aws.Int32(100)}
	for {
		page, err := call(ctx, p, "ListAliases", "*", p.client.ListAliases, in)
		if err != nil {
			return nil, err
		}
		for _, a := range page.Aliases {
			if id := aws.ToString(a.TargetKeyId); id != "" {
				known[id] = ""
			}
		}
		if !page.Truncated {
			return known, nil
		}
		in.Marker = page.NextMarker
	}
}

// uidOf returns the uid in a key's tags, empty if it has none; nil for a key that nothing can be known of yet.
func (p *Provider) uidOf(ctx context.Context, id string) (*string, error) {
	in := &kms.ListResourceTagsInput{KeyId: &id, Limit: aws.Int32(50)}
	uid := ""
	for {
		page, err := call(ctx, p, "ListResourceTags", id, p.client.ListResourceTags, in)
		switch {
		case gone(err):
			return nil, nil
		case errors.Is(err, errDenied):
			// A key whose policy shuts us out is none that we made; but where nobody's tags may be read, ours may not.
			p.blind.Do(func() {
				p.log.WarnContext(ctx, "the tags of some keys cannot be read; where those of AnyHSM's own keys cannot, a lost answer may leave a key behind", "error", err)
			})
			return &uid, nil
		case err != nil:
			return nil, err
		}
		for _, t := range page.Tags {
			if aws.ToString(t.TagKey) == tagUID {
				uid = aws.ToString(t.TagValue)
			}
		}
		if !page.Truncated {
			return &uid, nil
		}
		in.Marker = page.NextMarker
	}
}

// width is how many calls a listing has under way at once: enough to hide the network, far below the quotas.
const width = 8

// parallel does something to each of many, a few at a time, until one fails.
func parallel[In, Out any](ctx context.Context, all []In, do func(context.Context, In) (Out, error)) ([]Out, error) {
	out := make([]Out, len(all))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, width)
	var wait sync.WaitGroup
	for i := range all {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wait.Go(func() {
			defer func() { <-slots }()
			value, err := do(ctx, all[i])
			if err != nil {
				cancel(err)
				return
			}
			out[i] = value
		})
	}
	wait.Wait()
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		if _, ok := cause.(*fault.Error); ok {
			return nil, cause
		}
		return nil, ended(ctx, "list keys")
	}
	return out, nil
}
