// Package memo remembers what was found out about bytes, such as what a sealed ticket says, as long as there is room.
package memo

import "sync"

// Memo holds values by bytes. It is safe for concurrent use; the zero Memo has no room.
type Memo[V any] struct {
	limit  int
	mu     sync.RWMutex
	values map[string]V
}

// New returns a memo with room for so many values.
func New[V any](limit int) *Memo[V] {
	return &Memo[V]{limit: limit, values: map[string]V{}}
}

// Get returns what is remembered of the bytes.
func (m *Memo[V]) Get(of []byte) (value V, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	value, ok = m.values[string(of)]
	return value, ok
}

// Put remembers a value. Where there is no room another one is forgotten, whichever.
func (m *Memo[V]) Put(of []byte, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for other := range m.values {
		if len(m.values) < m.limit {
			break
		}
		delete(m.values, other)
	}
	if m.limit > 0 {
		m.values[string(of)] = value
	}
}

// Forget forgets everything.
func (m *Memo[V]) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.values)
}
