// Command plot draws what make bench has measured: the time of a call with one caller, the throughput with 16, and the
// search in growing tokens.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"image/color"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// results is the part of what bench writes with -json that is drawn.
type results struct {
	Machine string    `json:"machine"`
	Taken   string    `json:"taken"`
	Figures []figures `json:"figures"`
	Cost    *struct {
		Sizes []struct {
			Items int     `json:"items"`
			Find  figures `json:"find"`
		} `json:"sizes"`
	} `json:"cost"`
}

type figures struct {
	Target    string  `json:"target"`
	Op        string  `json:"op"`
	Threads   int     `json:"threads"`
	PerSecond float64 `json:"ops_per_s"`
	P50       float64 `json:"p50_us"`
	Error     string  `json:"error"`
}

// modules are drawn in this order; the shapes tell them apart without colours.
var modules = []struct {
	target, name string
	colour       color.RGBA
	shape        draw.GlyphDrawer
}{
	{"softhsm", "SoftHSM, in process", color.RGBA{90, 90, 90, 255}, draw.SquareGlyph{}},
	{"p11-kit", "p11-kit remote", color.RGBA{214, 95, 0, 255}, draw.TriangleGlyph{}},
	{"anyhsm", "AnyHSM, Unix socket", color.RGBA{0, 90, 181, 255}, draw.CircleGlyph{}},
	{"anyhsm-tls", "AnyHSM, TCP and mutual TLS", color.RGBA{0, 158, 115, 255}, draw.PlusGlyph{}},
}

func main() {
	in, out := flag.String("in", "docs/performance.json", "what bench wrote with -json"), flag.String("out", "docs/performance.png", "the picture")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	text, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	panels := []*plot.Plot{
		r.panel("One caller: median in µs (lower is better)", 1, func(f figures) float64 { return f.P50 }),
		r.panel("16 callers: operations a second (higher is better)", 16, func(f figures) float64 { return f.PerSecond }),
	}
	if r.Cost != nil && len(r.Cost.Sizes) > 0 {
		growth, err := r.growth()
		if err != nil {
			return err
		}
		panels = append(panels, growth)
	}
	panels[0].Title.Text = r.Taken + ", " + r.Machine + "\n\n" + panels[0].Title.Text
	canvas := vgimg.New(26*vg.Centimeter, vg.Length(len(panels))*11*vg.Centimeter)
	all := draw.New(canvas)
	var rows [][]*plot.Plot
	for _, p := range panels {
		rows = append(rows, []*plot.Plot{p})
	}
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: 8 * vg.Millimeter, PadTop: 4 * vg.Millimeter, PadBottom: 4 * vg.Millimeter, PadRight: 4 * vg.Millimeter}
	for i, row := range plot.Align(rows, tiles, all) {
		panels[i].Draw(row[0])
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(file); err != nil {
		return err
	}
	return file.Close()
}

// panel shows a figure of each operation and module on a logarithmic axis.
func (r results) panel(title string, threads int, of func(figures) float64) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.Title.Padding = title, 2*vg.Millimeter
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, false
	p.Legend.YOffs = 0
	var ops []string
	for _, f := range r.Figures {
		if f.Threads == threads && f.Error == "" && !slices.Contains(ops, f.Op) {
			ops = append(ops, f.Op)
		}
	}
	p.Add(plotter.NewGrid())
	for _, m := range modules {
		var points plotter.XYs
		for _, f := range r.Figures {
			if f.Target == m.target && f.Threads == threads && f.Error == "" && of(f) > 0 {
				points = append(points, plotter.XY{X: float64(slices.Index(ops, f.Op)), Y: of(f)})
			}
		}
		if len(points) == 0 {
			continue
		}
		scatter, err := plotter.NewScatter(points)
		if err != nil {
			continue // only what is not a number fails, and that was not measured
		}
		scatter.GlyphStyle = draw.GlyphStyle{Color: m.colour, Radius: 3.5, Shape: m.shape}
		p.Add(scatter)
		p.Legend.Add(m.name, scatter)
	}
	p.NominalX(ops...)
	p.X.Tick.Label.Rotation, p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = 0.6, draw.XRight, draw.YTop
	p.X.Min, p.X.Max = -0.5, 1.3*float64(len(ops)) // the legend has the right side for itself
	return p
}

// growth is the search by label in tokens of rising size.
func (r results) growth() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = "Find by label, one caller: median in µs"
	p.X.Label.Text = "objects in the token"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	lines := map[string]plotter.XYs{}
	for _, f := range r.Figures {
		if items := map[string]float64{"find-1k": 1000, "find-100k": 100_000}[f.Op]; items > 0 && f.Error == "" && f.Target != "anyhsm" {
			lines[f.Target] = append(lines[f.Target], plotter.XY{X: items, Y: f.P50})
		}
	}
	for _, s := range r.Cost.Sizes {
		lines["anyhsm"] = append(lines["anyhsm"], plotter.XY{X: float64(s.Items), Y: s.Find.P50})
	}
	for _, m := range modules {
		if len(lines[m.target]) == 0 {
			continue
		}
		line, points, err := plotter.NewLinePoints(lines[m.target])
		if err != nil {
			return nil, err
		}
		line.Color = m.colour
		points.GlyphStyle = draw.GlyphStyle{Color: m.colour, Radius: 3.5, Shape: m.shape}
		p.Add(line, points)
		p.Legend.Add(m.name, line, points)
	}
	p.Legend.Top, p.Legend.Left = true, true
	return p, nil
}
