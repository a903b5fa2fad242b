package entryset

// Word is held by the names of about 1,000 files of a generated set, evenly spread, and by no others. Absent is held by
// no name of a generated set; it begins like words that are.
const (
	Word   = "heliograph"
	Absent = "estimatory"
)

// vocabulary is what names are made of. No word, and no two in a row, make up Word or Absent.
var vocabulary = [...]string{
	"access", "account", "action", "adapter", "address", "admin", "agenda", "album", "alpha", "analysis", "android", "annual",
	"answer", "archive", "array", "article", "asset", "async", "attribute", "audio", "author", "backup", "balance", "banner",
	"basic", "batch", "beach", "beta", "binary", "birthday", "block", "board", "body", "bonus", "book", "border", "branch",
	"bridge", "browser", "budget", "buffer", "build", "bundle", "button", "cache", "calendar", "camera", "canvas", "capture",
	"card", "catalog", "category", "chapter", "chart", "check", "child", "choice", "christmas", "circle", "class", "client",
	"clock", "cloud", "cluster", "code", "collection", "color", "column", "command", "comment", "common", "compact", "component",
	"concert", "config", "connection", "console", "constant", "contact", "container", "content", "context", "contract", "control",
	"copy", "core", "corner", "counter", "country", "cover", "crash", "cursor", "custom", "daily", "data", "database", "debug",
	"decoder", "default", "delta", "demo", "deploy", "design", "desktop", "detail", "device", "dialog", "diary", "digest",
	"directory", "discovery", "display", "document", "domain", "download", "draft", "driver", "editor", "effect", "element",
	"email", "emblem", "encoder", "engine", "entry", "error", "estimate", "event", "example", "exchange", "export", "extension",
	"factory", "family", "feature", "field", "figure", "filter", "final", "finance", "folder", "font", "footer", "format",
	"forward", "frame", "function", "future", "gallery", "garden", "gateway", "general", "global", "graph", "grid", "group",
	"guide", "handler", "hardware", "header", "health", "helper", "history", "holiday", "home", "icon", "image", "import",
	"index", "info", "input", "install", "insurance", "interface", "internal", "invoice", "island", "item", "iterator", "journal",
	"keyboard", "kitchen", "label", "language", "layer", "layout", "legacy", "letter", "library", "license", "light", "limit",
	"linux", "list", "loader", "local", "location", "logger", "machine", "manager", "manual", "mapping", "market", "master",
	"matrix", "measure", "media", "meeting", "memory", "menu", "message", "meta", "method", "metrics", "middleware", "minutes",
	"mobile", "model", "module", "monitor", "monthly", "morning", "mountain", "network", "node", "notes", "notice", "number",
	"object", "office", "offline", "option", "order", "orders", "output", "overview", "package", "page", "panel", "parser",
	"party", "patch", "pattern", "payment", "people", "picture", "pipeline", "plan", "plugin", "policy", "portrait", "preview",
	"print", "private", "process", "product", "profile", "project", "promise", "proposal", "protocol", "provider", "public",
	"query", "queue", "reader", "readme", "receipt", "recipe", "record", "region", "register", "release", "remote", "report",
	"request", "resolver", "resource", "response", "result", "review", "river", "root", "router", "runtime", "sample", "scanner",
	"schedule", "schema", "school", "screen", "script", "search", "secret", "section", "sensor", "server", "service", "session",
	"settings", "shadow", "shared", "shell", "signal", "simple", "sketch", "socket", "source", "spec", "spring", "stack", "state",
	"static", "status", "storage", "stream", "string", "studio", "style", "summary", "summer", "support", "surface", "survey",
	"switch", "symbol", "sync", "system", "table", "target", "task", "tax", "template", "terminal", "test", "texture", "theme",
	"thread", "thumbnail", "ticket", "token", "toolbar", "topic", "trace", "train", "transfer", "transport", "travel", "tree",
	"trigger", "tutorial", "type", "unit", "update", "upload", "user", "util", "utils", "validator", "value", "vector", "vendor",
	"version", "video", "view", "virtual", "wallet", "watcher", "weather", "website", "wedding", "weekly", "widget", "window",
	"winter", "worker", "wrapper", "writer", "zone",
}

// foreign are words beyond ASCII, composed and decomposed.
var foreign = [...]string{
	"Übersicht", "größe", "Rechnung März", "façade", "café", "cafe\u0301", "naïve", "año nuevo", "señal", "coração",
	"été", "Straße", "smörgåsbord", "żółw", "příloha", "отчёт", "погода", "фото", "документы", "Αθήνα",
	"写真", "会議の議事録", "年度报告", "새 문서", "תמונות", "مستندات", "रिपोर्ट", "🎄 party", "naturaleza – ñandú", "København",
}

// makers are names that devices and programs give by themselves.
var makers = [...]string{"IMG_", "DSC_", "DSC0", "PXL_", "VID_", "MVIMG_", "DJI_", "GOPR", "P10", "SAM_", "Screenshot_", "Scan_", "signal-"}

var languages = [...]string{"de", "fr", "pt_BR", "zh_CN", "en_GB", "ja", "sr@latin", "es_MX", "nl", "uk", "he", "ca@valencia"}

// usual are names that many folders have a file of.
var usual = [...]string{
	"README.md", "index.html", "__init__.py", ".DS_Store", "Thumbs.db", "changelog.Debian.gz", "copyright", "Makefile",
	"package.json", "LICENSE", "cover.jpg", "main.go", "desktop.ini", ".gitignore", "CMakeLists.txt", "index.js", "setup.py",
	"folder.jpg", "tsconfig.json", "docker-compose.yml", "requirements.txt", "types.ts", "conftest.py", "META-INF.MF",
	"AUTHORS", "changelog.gz", ".nomedia", "pom.xml", "styles.css", "endpoint-rule-set-1.json", "service-2.json.gz",
	"Kconfig", "BUILD.bazel", "mod.rs", "Cargo.toml", "module-info.class", "INSTALLER", "RECORD", "top_level.txt", "options.txt",
}

// extensions of files, by style.
var extensions = [...][]string{
	photos:   {".jpg", ".jpg", ".JPG", ".jpeg", ".png", ".heic", ".ARW", ".NEF", ".xmp", ".mp4", ".MOV"},
	source:   {".go", ".py", ".c", ".h", ".ts", ".tsx", ".js", ".mjs", ".d.ts", ".java", ".rs", ".cpp", ".rb", ".pyc", ".o", ".json", ".yaml", ".js.map"},
	office:   {".pdf", ".pdf", ".docx", ".xlsx", ".odt", ".txt", ".md", ".eml", ".pptx", ".csv", ".html"},
	packages: {".deb", ".list", ".md5sums", ".rpm", ".tar.xz", ".dsc", ".whl", ".so", ".postinst", ".symbols"},
	manuals:  {".1.gz", ".3.gz", ".3pm.gz", ".5.gz", ".7.gz", ".8.gz", ".html", ".mo", ".svg", "-symbolic.svg"},
	music:    {".flac", ".mp3", ".m4a", ".ogg", ".wav", ".opus"},
	logs:     {".log", ".log.gz", ".gz", ".json", ".csv", ".txt", ".parquet"},
	caches:   {"", "", ".bin", ".cache", ".tmp", ".blob", "-wal"},
}
