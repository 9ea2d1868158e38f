package report

import (
	"strings"
)

// mdTable writes a Markdown table. Cells are plain text: what Markdown or HTML
// would take for markup is escaped.
func mdTable(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) {
		for i := range head {
			text := ""
			if i < len(cells) {
				text = plain(cells[i])
			}
			b.WriteString("| " + text + " ")
		}
		b.WriteString("|\n")
	}
	line(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, row := range rows {
		line(row)
	}
	return b.String()
}

var mdEscapes = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", `\|`, "\\", `\\`,
	"`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`)

// plain is text as Markdown, on one line.
func plain(text string) string {
	return mdEscapes.Replace(strings.Join(strings.Fields(text), " "))
}
