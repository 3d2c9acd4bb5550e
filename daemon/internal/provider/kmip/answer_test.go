package kmip

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/kmiptest"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// TestTwoDaemons: two daemons make the key of one identity at the same time. Both get the same one, and one is there.
func TestTwoDaemons(t *testing.T) {
	server := kmiptest.StartPyKMIP(t)
	real := config(server, "1.4")
	_, _, own := strict(t)
	for name, c := range map[string]Config{"PyKMIP, which takes a name twice": real, "a server that does not": own} {
		t.Run(name, func(t *testing.T) {
			daemons := []provider.Provider{connect(t, c), connect(t, c), connect(t, c)}
			for round := range 4 {
				request := aesRequest(strings.Repeat(string(rune('a'+round)), 32))
				var wait sync.WaitGroup
				for _, daemon := range daemons {
					wait.Go(func() {
						// One that lost the race may find its key destroyed by the other; the application repeats its request.
						_, _ = daemon.Generate(t.Context(), request)
					})
				}
				wait.Wait()
				var refs [][]byte
				for _, daemon := range daemons {
					generated, err := daemon.Generate(t.Context(), request)
					if err != nil {
						t.Fatal(err)
					}
					refs = append(refs, generated.Ref)
				}
				if !bytes.Equal(refs[0], refs[1]) || !bytes.Equal(refs[0], refs[2]) {
					t.Error("the daemons have different keys")
				}
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	good := ttlv.Structure(ttlv.TagResponseMessage, ttlv.Structure(ttlv.TagResponseHeader, version{2, 1}.item()), ttlv.Structure(ttlv.TagBatchItem,
		ttlv.Enumeration(ttlv.TagOperation, ttlv.OpGet), ttlv.Enumeration(ttlv.TagResultStatus, ttlv.StatusSuccess),
		ttlv.Structure(ttlv.TagResponsePayload, uid("1"), keyBlock(ttlv.TagPublicKey, ttlv.FormatX509, []byte{0x30, 0}, ttlv.AlgorithmEc, 256),
			keyBlock(ttlv.TagSymmetricKey, ttlv.FormatRaw, []byte{1}, ttlv.AlgorithmAes, 128), keyBlock(ttlv.TagPrivateKey, ttlv.FormatPkcs8, []byte{0x30, 0}, ttlv.AlgorithmRsa, 2048),
			ttlv.Structure(ttlv.TagAttributes, name("n"), label("l"), ttlv.Integer(ttlv.TagCryptographicLength, -1)))))
	f.Add(ttlv.Marshal(good))
	failed := ttlv.Structure(ttlv.TagResponseMessage, ttlv.Structure(ttlv.TagResponseHeader, version{1, 4}.item()), ttlv.Structure(ttlv.TagBatchItem,
		ttlv.Enumeration(ttlv.TagResultStatus, ttlv.StatusFailed), ttlv.Enumeration(ttlv.TagResultReason, 0x7777), ttlv.TextString(ttlv.TagResultMessage, "no\nway")))
	f.Add(ttlv.Marshal(failed))
	f.Fuzz(func(t *testing.T, b []byte) {
		item, err := ttlv.Unmarshal(b)
		if err != nil {
			return
		}
		payload, err := answer(ttlv.OpGet, item)
		if err != nil {
			if strings.ContainsRune(err.Error(), '\n') {
				t.Error("a server writes lines into our log")
			}
			return
		}
		for _, v := range versions {
			p := &Provider{version: v}
			o := p.objectOf("id", payload)
			if r, err := parseReference(o.reference().encode()); err != nil || r.ID != "id" {
				t.Errorf("the reference does not come back: %v", err)
			}
		}
		_, _ = publicValue(payload)
		_, _ = secretValue(payload, cryptoki.CKO_PRIVATE_KEY)
		_, _ = secretValue(payload, cryptoki.CKO_SECRET_KEY)
	})
}
