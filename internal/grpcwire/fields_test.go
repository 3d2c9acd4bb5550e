package grpcwire

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// decoded is what hpack makes of a block after others have filled its table.
func decoded(t *testing.T, block []byte, before ...hpack.HeaderField) ([]hpack.HeaderField, error) {
	t.Helper()
	d := hpack.NewDecoder(headerTable, nil)
	var first bytes.Buffer
	e := hpack.NewEncoder(&first)
	for _, f := range before {
		if err := e.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.DecodeFull(first.Bytes()); err != nil {
		t.Fatal(err)
	}
	return d.DecodeFull(block)
}

func TestFields(t *testing.T) {
	long := string(bytes.Repeat([]byte("v"), 300))
	block := appendNamed([]byte{methodPost, schemeHTTPS}, nameContentType, contentType)
	block = appendPassing(appendField(block, "x", long), "y", "")
	head := len(block)
	block = appendTimeout(block, 3*time.Second)
	fields, err := decoded(t, block)
	if err != nil {
		t.Fatal(err)
	}
	want := []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "https"},
		{Name: "content-type", Value: contentType},
		{Name: "x", Value: long},
		{Name: "y", Sensitive: true},
		{Name: timeoutField, Value: "3000000u"},
	}
	if !slices.Equal(fields, want) {
		t.Errorf("%v", fields)
	}
	if got, ok := lasting(block); !ok || len(got) != head {
		t.Errorf("cut at %d, not %d", len(got), head)
	}
	for name, changing := range map[string][]byte{
		"remembered": {0x40, 1, 'a', 1, 'b'}, "from the table": {0x80 | 62}, "name from the table": {0x0f, 62 - 15, 1, 'b'},
		"table size": {tableGone}, "cut short": {0, 3, 'a'}, "number too long": {0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
	} {
		if _, ok := lasting(changing); ok {
			t.Errorf("%s: taken for lasting", name)
		}
	}
}

// FuzzLasting: what is taken for lasting means the same after other headers, with the timeout cut off and put back.
func FuzzLasting(f *testing.F) {
	f.Add(appendTimeout(appendNamed([]byte{methodPost, schemeHTTP}, namePath, "/a/b"), time.Second))
	f.Add([]byte{0x8f, 0x0f, 1, 0x81, 0x1f})
	f.Add([]byte{0x40, 1, 'a', 1, 'b', 0xbe})
	f.Fuzz(func(t *testing.T, block []byte) {
		head, ok := lasting(block)
		if !ok {
			return
		}
		fresh, err := decoded(t, block)
		again, errAgain := decoded(t, block, hpack.HeaderField{Name: "p", Value: "q"}, hpack.HeaderField{Name: "r", Value: "s"})
		if !slices.Equal(fresh, again) || (err == nil) != (errAgain == nil) {
			t.Fatalf("%v %v and then %v %v", fresh, err, again, errAgain)
		}
		if err != nil {
			return
		}
		fields, err := decoded(t, head)
		if err != nil {
			t.Fatal(err)
		}
		if value, timed := cutTimeout(block[len(head):]); timed {
			fields = append(fields, hpack.HeaderField{Name: timeoutField, Value: string(value)})
		}
		if !slices.Equal(fields, fresh) {
			t.Errorf("%v is not %v", fields, fresh)
		}
	})
}

// TestCallContext: a context of ours does what one of package context does, whether or not somebody waits for its end.
func TestCallContext(t *testing.T) {
	type key struct{}
	parent, stop := context.WithCancel(context.WithValue(t.Context(), key{}, 1))
	defer stop()
	for _, waited := range []bool{false, true} {
		make := func(limit time.Duration) (context.Context, context.CancelFunc) {
			ctx, end := WithDeadline(parent, time.Now().Add(limit))
			if waited {
				_ = ctx.Done()
			}
			return ctx, end
		}
		ctx, end := make(time.Hour)
		if ctx.Err() != nil || ctx.Value(key{}) != 1 {
			t.Errorf("a living context: %v, %v", ctx.Err(), ctx.Value(key{}))
		}
		child, endChild := context.WithCancel(ctx)
		end()
		<-child.Done()
		endChild()
		if ctx.Err() != context.Canceled || context.Cause(ctx) != context.Canceled {
			t.Errorf("after its end: %v", ctx.Err())
		}
		<-ctx.Done()
		ctx, end = make(-time.Second)
		if ctx.Err() != context.DeadlineExceeded {
			t.Errorf("after its deadline: %v", ctx.Err())
		}
		<-ctx.Done()
		end()
		if ctx.Err() != context.DeadlineExceeded {
			t.Errorf("ended after its deadline: %v", ctx.Err())
		}
	}
	ctx, end := WithDeadline(parent, time.Now().Add(time.Hour))
	defer end()
	later, endLater := WithDeadline(ctx, time.Now().Add(2*time.Hour))
	defer endLater()
	if until, _ := later.Deadline(); time.Until(until) > time.Hour {
		t.Errorf("the deadline is later than the parent's: %v", until)
	}
	stop()
	if later.Err() != context.Canceled {
		t.Errorf("after its parent's end: %v", later.Err())
	}
	<-later.Done()
}
