// Package price reads what services ask for keys and calls. The figures are data with a date, which the operator may
// replace; none is in the code.
package price

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

//go:embed prices.toml
var builtIn []byte

// PerCalls is how many calls a price is for.
const PerCalls = 10_000

// List is a list of prices.
type List struct {
	// Date is when the prices were looked up.
	Date string `toml:"date"`
	// Currency is that of all figures.
	Currency string `toml:"currency"`
	Prices   []Row  `toml:"price"`
	// File is where the list comes from, empty for the one that is built in.
	File string `toml:"-"`
}

// Row is the price of some keys of one kind of provider.
type Row struct {
	Kind string `toml:"kind"`
	// Keys are types of keys, as rsa:2048 or rsa:*.
	Keys []string `toml:"keys"`
	// Hardware restricts the row to providers that keep keys in a device, or to those that do not.
	Hardware *bool `toml:"hardware"`
	// Month is the price of a key for a month, Calls that of PerCalls uses.
	Month float64 `toml:"month"`
	Calls float64 `toml:"calls"`
}

// BuiltIn returns the list that comes with AnyHSM.
func BuiltIn() List {
	list, err := parse(builtIn)
	if err != nil {
		panic("price: the list that is built in: " + err.Error()) // a test reads it
	}
	return list
}

// Load reads a list from a file.
func Load(file string) (List, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return List{}, fmt.Errorf("%w; correct `prices`, or remove it for the prices that are built in", err)
	}
	list, err := parse(text)
	if err != nil {
		return List{}, fmt.Errorf("%s: %w", file, err)
	}
	list.File = file
	return list, nil
}

func parse(text []byte) (list List, err error) {
	err = toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&list)
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		return list, fmt.Errorf("unknown key %q; correct or remove it", strings.Join(unknown.Errors[0].Key(), "."))
	}
	if err != nil {
		return list, fmt.Errorf("%w; write it as docs/configuration.md shows", err)
	}
	if _, err := time.Parse(time.DateOnly, list.Date); err != nil {
		return list, fmt.Errorf("date = %q is no date; write when the prices were looked up, as \"2026-11-01\"", list.Date)
	}
	if list.Currency == "" {
		return list, fmt.Errorf("currency is missing; write it as \"USD\"")
	}
	for i, row := range list.Prices {
		switch {
		case row.Kind == "" || len(row.Keys) == 0:
			return list, fmt.Errorf("price number %d names no kind or no keys; add them", i+1)
		case !(row.Month >= 0) || !(row.Calls >= 0):
			return list, fmt.Errorf("price number %d is negative; correct it", i+1)
		}
		for _, pattern := range row.Keys {
			if _, err := path.Match(pattern, ""); err != nil || strings.Contains(pattern, "/") {
				return list, fmt.Errorf("price number %d: %q is no type of key; write it as \"rsa:2048\", \"rsa:*\" or \"*\"", i+1, pattern)
			}
		}
	}
	return list, nil
}

// Has tells whether the list has prices for a kind of providers.
func (l List) Has(kind string) bool {
	return slices.ContainsFunc(l.Prices, func(row Row) bool { return row.Kind == kind })
}

// Find returns the price of a key; false if the list has none.
func (l List) Find(kind, key string, hardware bool) (Row, bool) {
	for _, row := range l.Prices {
		if row.Kind != kind || row.Hardware != nil && *row.Hardware != hardware {
			continue
		}
		for _, pattern := range row.Keys {
			if fits, _ := path.Match(pattern, key); fits {
				return row, true
			}
		}
	}
	return Row{}, false
}
