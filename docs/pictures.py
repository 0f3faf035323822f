"""When hooks run, as pictures: one an area, drawn from the stories below. Every hook is in exactly one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from prouter import agent_hookspecs, hookspecs

Step = tuple[str, Sequence[str]]
"""What happens, and the hooks that are asked or told at that moment; the agent's are marked by `agent:`."""

STORIES: Mapping[str, Sequence[Step]] = {
    "selection": (
        ("A client asks for a job", ["prouter_job_spec", "prouter_admit_job"]),
        ("For each connected agent: may it, how well does it suit", ["prouter_filter_agent", "prouter_score_agent"]),
        ("The selector of the locator's type chooses", ["prouter_selectors"]),
        ("It names an address: the router dials", ["prouter_agent_token", "prouter_connect_agent"]),
        ("Nobody fits: it waits, if its client does", ["prouter_job_priority", "prouter_queue_changed"]),
        ("Nobody fits: start an agent, wait for it, choose again", ["prouter_provision_agent",
                                                                    "prouter_agent_provisioning"]),
    ),
    "auth": (
        ("Start: what is guarded; may we listen beyond loopback", ["prouter_guards"]),
        ("An agent dials in", ["prouter_authenticate_agent"]),
        ("It is connected, leaves, drains", ["prouter_agent_connected", "prouter_agent_disconnected",
                                             "prouter_agent_draining"]),
        ("A request comes", ["prouter_authenticate_request", "prouter_principal"]),
        ("Its job or route is found", ["prouter_authorize"]),
        ("It has ended", ["prouter_audit"]),
    ),
    "proxying": (
        ("A request, authenticated", ["prouter_resolve_route"]),
        ("It is authorized, its job's port is known", ["prouter_proxy_request", "prouter_plan"]),
        ("A pipe to the agent, the job's port; bytes go", []),
        ("The head of the answer comes", ["prouter_proxy_response"]),
        ("The last byte has gone", ["prouter_proxy_finished"]),
        ("Every few seconds, whichever router it came through", ["prouter_proxy_activity"]),
        ("wsconnect: a job's websocket joined to the caller's", ["prouter_bridge_open"]),
    ),
    "jobs": (
        ("Start of the agent: what it is, what it can", ["agent:prouter_agent_properties", "agent:prouter_drivers"]),
        ("A job is made, its sandbox is empty", ["agent:prouter_prepare_sandbox"]),
        ("Clients write files into it", ["agent:prouter_before_file_write"]),
        ("It is to start", ["agent:prouter_admit_start"]),
        ("It starts", ["agent:prouter_job_environment"]),
        ("Its ports are served", ["agent:prouter_job_ready"]),
        ("Clients read its output", ["agent:prouter_job_output"]),
        ("It did nothing for long", ["agent:prouter_job_idle"]),
        ("Its tree is gone", ["agent:prouter_job_ended"]),
        ("It is removed", ["agent:prouter_cleanup_sandbox"]),
        ("No job came of it", ["prouter_job_not_made"]),
        ("At every change, at the router", ["prouter_job_state_changed"]),
    ),
    "around": (
        ("Import", ["prouter_config_sections", "agent:prouter_config_sections", "prouter_commands"]),
        ("Start", ["prouter_startup", "agent:prouter_startup"]),
        ("Contributions", ["prouter_routes", "agent:prouter_agent_routes", "agent:prouter_rpc_methods"]),
        ("Somebody looks", ["prouter_health", "prouter_metrics"]),
        ("The configuration is read again", ["prouter_reload"]),
        (
            "Something goes wrong",
            ["prouter_failed", "prouter_handle_exception", "agent:prouter_handle_exception", "prouter_news_missed",
             "agent:prouter_news_missed"],
        ),
        ("The end", ["prouter_shutdown", "agent:prouter_shutdown"]),
    ),
}  # fmt: skip

COLORS = {
    "collect": "#6b7280", "first": "#2563eb", "chain": "#7c3aed", "veto": "#dc2626", "gather": "#0891b2",
    "setup": "#15803d", "notify": "#b45309",
}  # fmt: skip
"""Of the kinds."""
WIDTH, LEFT, ROW, PILL, GAP = 860, 330, 26, 22, 18


def picture(name: str) -> str:
    """An SVG: what happens on the left, from top to bottom, the hooks on the right."""
    steps, y, parts = STORIES[name], 20, []
    for number, (text, hooks) in enumerate(steps):
        height = max(1, len(hooks)) * ROW + 12
        parts.append(f'<rect x="10" y="{y}" width="{LEFT}" height="{height}" rx="6" fill="#f3f4f6" stroke="#9ca3af"/>')
        lines = wrapped(text, 46)
        for index, line in enumerate(lines):
            at = y + height / 2 + 5 + (index - (len(lines) - 1) / 2) * 15
            parts.append(
                f'<text x="{10 + LEFT / 2}" y="{at:g}" text-anchor="middle" fill="#111827">{escape(line)}</text>'
            )
        for index, hook in enumerate(hooks):
            parts.append(pill(hook, y + 8 + index * ROW, y + height / 2))
        if number + 1 < len(steps):
            x = 10 + LEFT / 2
            parts.append(f'<path d="M{x} {y + height} v{GAP - 5} m-4 -5 l4 5 l4 -5" fill="none" stroke="#9ca3af"/>')
        y += height + GAP
    legend = "".join(
        f'<circle cx="{24 + index * 110}" cy="{y + 6}" r="6" fill="{color}"/>'
        f'<text x="{36 + index * 110}" y="{y + 11}" fill="#111827">{kind}</text>'
        for index, (kind, color) in enumerate(COLORS.items())
    )
    title = f"When the hooks of {name} run"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 24}" width="{WIDTH}" height="{y + 24}" '
        f'font-family="ui-sans-serif, system-ui, sans-serif" font-size="13" role="img" aria-label="{title}">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>' + "".join(parts) + legend + "</svg>\n"
    )


def pill(hook: str, y: float, middle: float) -> str:
    side, _, bare = hook.rpartition(":")
    kind = getattr(agent_hookspecs if side else hookspecs, bare).prouter_kind
    x, color = LEFT + 50, COLORS[kind]
    text = f"{bare} (agent)" if side else bare
    return (
        f'<path d="M{10 + LEFT} {middle:g} H{LEFT + 30} V{y + PILL / 2:g} H{x}" fill="none" stroke="{color}"/>'
        f'<rect x="{x}" y="{y:g}" width="{len(text) * 8.1 + 20:g}" height="{PILL}" rx="{PILL / 2:g}" fill="{color}"/>'
        f'<text x="{x + 10}" y="{y + 15:g}" fill="#ffffff" font-family="ui-monospace, monospace">{text}</text>'
    )


def wrapped(text: str, most: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) + 1 > most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def hooks_in_pictures() -> list[str]:
    return [hook for steps in STORIES.values() for _, hooks in steps for hook in hooks]
