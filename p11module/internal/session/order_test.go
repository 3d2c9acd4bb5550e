package session

import "testing"

// TestAnswersOutOfOrder: of two changes the later one's answer comes first. The earlier one fits the cache's revision,
// but the cache is not right before the later one has been asked for.
func TestAnswersOutOfOrder(t *testing.T) {
	c := newCache()
	c.take(whole(c.now(), 5))
	c.notice(c.now(), 7)
	c.apply(c.now(), 6, []*Object{stored(1, "mine")})
	if c.revision != 6 || !c.confirmed.IsZero() {
		t.Errorf("revision %d, confirmed %v", c.revision, c.confirmed)
	}
}

// TestOvertakenListingStillCounts: whoever waited for a listing has what was there when he asked, however much has
// changed since. If that did not count, one program's many threads could keep each other from ever being served.
func TestOvertakenListingStillCounts(t *testing.T) {
	c := newCache()
	c.take(whole(c.now(), 5))
	began := c.now()
	left := c.now()
	c.apply(c.now(), 6, []*Object{stored(1, "mine")})
	c.take(whole(left, 5))
	if c.listed.Before(began.start) || c.revision != 6 || c.index.get(1) == nil {
		t.Errorf("listed %v, revision %d, objects %v", c.listed, c.revision, c.handles())
	}
	c.notice(c.now(), 9)
	left = c.now()
	c.notice(c.now(), 12)
	c.take(whole(left, 9, stored(1, "mine")))
	if c.listed.Before(left.start) || !c.confirmed.IsZero() {
		t.Errorf("listed %v, confirmed %v", c.listed, c.confirmed)
	}
}
