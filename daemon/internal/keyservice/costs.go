package keyservice

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/anyhsm/anyhsm/daemon/internal/price"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// Cost is an estimate of what one provider costs: its keys that objects are made of by the month, and the uses of keys
// since the daemon's start. Unpriced counts keys that the list of prices does not have.
type Cost struct {
	Provider, Kind string
	Keys           uint64
	Monthly        float64
	Calls          uint64
	CallsCost      float64
	Unpriced       uint64
}

// Costs is the estimate for all providers, with the list that it was made with.
type Costs struct {
	Providers []Cost
	Prices    price.List
}

// costFreshness is how long keys are not counted again for /metrics.
const costFreshness = 5 * time.Minute

// costs counts uses, and keys from time to time.
type costs struct {
	service *Service
	prices  price.List

	mu sync.Mutex
	// uses are by provider and by what keyKind says.
	uses map[string]map[string]uint64

	counting sync.Mutex
	counted  time.Time
	last     []Cost

	monthly, calls, info *prometheus.Desc
}

func newCosts(s *Service, prices price.List) *costs {
	return &costs{
		service: s, prices: prices, uses: map[string]map[string]uint64{},
		monthly: prometheus.NewDesc("anyhsm_provider_keys_cost_monthly", "Estimated price of a provider's keys for a month.", []string{"provider", "currency"}, nil),
		calls:   prometheus.NewDesc("anyhsm_provider_calls_cost_total", "Estimated price of the uses of a provider's keys since the start.", []string{"provider", "currency"}, nil),
		info:    prometheus.NewDesc("anyhsm_prices_info", "Always 1; the label says of when the prices are.", []string{"date"}, nil),
	}
}

// keyKind is how the list of prices names a type of keys.
func keyKind(key cryptoki.Attributes) string {
	keyType, _ := key.KeyType()
	switch keyType {
	case cryptoki.CKK_RSA:
		return fmt.Sprintf("rsa:%d", mechanism.Bits(key))
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		c, err := curve.Of(key)
		if err != nil {
			return "ec"
		}
		name := strings.ToLower(strings.ReplaceAll(c.Name, "-", ""))
		if keyType == cryptoki.CKK_EC {
			return "ec:" + name
		}
		return name
	case cryptoki.CKK_ML_DSA:
		set, err := parameterset.Of(key)
		if err != nil {
			return "ml-dsa"
		}
		return strings.Replace(strings.ToLower(set.Name), "dsa-", "dsa:", 1)
	case cryptoki.CKK_AES:
		return fmt.Sprintf("aes:%d", mechanism.Bits(key))
	}
	return fmt.Sprintf("hmac:%d", mechanism.Bits(key))
}

// used notes a use of a key, where calls of its provider have a price.
func (c *costs) used(b *backend, key cryptoki.Attributes) {
	if !c.prices.Has(b.capabilities.Kind) {
		return
	}
	kind := keyKind(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uses[b.name] == nil {
		c.uses[b.name] = map[string]uint64{}
	}
	c.uses[b.name][kind]++
}

// count makes the estimate anew. It reads the keys of providers that have prices, a page at a time.
func (c *costs) count(ctx context.Context) ([]Cost, error) {
	var all []Cost
	for _, name := range slices.Sorted(maps.Keys(c.service.providers)) {
		capabilities := c.service.providers[name].source.Capabilities()
		one := Cost{Provider: name, Kind: capabilities.Kind}
		if c.prices.Has(one.Kind) {
			for after := uint64(0); ; {
				objects, err := c.service.store.ObjectsIn(ctx, name, after, pageObjects)
				if err != nil {
					return nil, err
				}
				for _, o := range objects {
					one.Keys++
					if row, ok := c.prices.Find(one.Kind, keyKind(o.Attributes), capabilities.Hardware); ok {
						one.Monthly += row.Month
					} else {
						one.Unpriced++
					}
				}
				if len(objects) < pageObjects {
					break
				}
				after = objects[len(objects)-1].ID
			}
		}
		one.Calls, one.CallsCost = c.called(name, one.Kind, capabilities.Hardware)
		all = append(all, one)
	}
	return all, nil
}

// called returns the uses of a provider's keys and what they cost.
func (c *costs) called(name, kind string, hardware bool) (uses uint64, cost float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, n := range c.uses[name] {
		uses += n
		if row, ok := c.prices.Find(kind, key, hardware); ok {
			cost += float64(n) * row.Calls / price.PerCalls
		}
	}
	return uses, cost
}

// ListCosts estimates what the providers cost.
func (s *Service) ListCosts(ctx context.Context, call Call) (Costs, error) {
	if err := administrator(call); err != nil {
		return Costs{}, err
	}
	all, err := s.costs.count(ctx)
	return Costs{Providers: all, Prices: s.costs.prices}, settle(err)
}

// Costs returns the estimate as figures for Prometheus.
func (s *Service) Costs() prometheus.Collector { return s.costs }

// Describe implements prometheus.Collector.
func (c *costs) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.monthly
	descriptions <- c.calls
	descriptions <- c.info
}

// Collect implements prometheus.Collector.
func (c *costs) Collect(figures chan<- prometheus.Metric) {
	c.counting.Lock()
	if time.Since(c.counted) > costFreshness {
		ctx, cancel := context.WithTimeout(context.Background(), healthTime)
		all, err := c.count(ctx)
		cancel()
		if err == nil {
			c.last = all
		} else {
			c.service.log.Warn("the keys of providers could not be counted for their cost", "error", err)
		}
		c.counted = time.Now()
	}
	last := c.last
	c.counting.Unlock()
	figures <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1, c.prices.Date)
	for _, one := range last {
		if !c.prices.Has(one.Kind) {
			continue
		}
		_, cost := c.called(one.Provider, one.Kind, c.service.providers[one.Provider].source.Capabilities().Hardware)
		figures <- prometheus.MustNewConstMetric(c.monthly, prometheus.GaugeValue, one.Monthly, one.Provider, c.prices.Currency)
		figures <- prometheus.MustNewConstMetric(c.calls, prometheus.CounterValue, cost, one.Provider, c.prices.Currency)
	}
}
