"""Which test has which code of which page.

The steps in Python are run by `test_pages.py`, page by page. Everything else is claimed here: a file by its name, a
command by its first words, another block by its language and its first words. Patterns are globs.
"""

__all__ = ["CHECKED", "NOT_RUN"]

COMMAND_LINE = "tests/docs/test_command_line.py"
DEPLOYING = "tests/docs/test_deploying.py"
TOPOLOGIES = "tests/docs/test_topologies.py"
TUTORIAL = "tests/docs/test_tutorial.py"
WORKERS = "tests/docs/test_workers.py"

README = {
    "chat/*.py": "tests/docs/test_readme.py::test_the_quick_setup_works_as_printed",
    "uvicorn chat.main:app*": "tests/docs/test_readme.py::test_the_quick_setup_works_as_printed",
    "python -m chat.worker*": "tests/docs/test_readme.py::test_the_quick_setup_works_as_printed",
    "python -m websockets*": "tests/docs/test_readme.py::test_the_quick_setup_works_as_printed",
    "make demo*": "tests/sandbox/test_check.py",
    "make test*": "tests/docs/test_blocks.py::test_the_targets_that_are_named_exist",
}

CHECKED: dict[str, dict[str, str]] = {
    "README.md": README,
    "docs/index.md": {
        "main.py": "tests/docs/test_in_browser.py::test_the_first_example_is_a_chat",
        "uvicorn main:app": "tests/docs/test_in_browser.py::test_the_first_example_is_a_chat",
    },
    "docs/install.md": {
        "python -c*": "tests/docs/test_blocks.py::test_commands_of_one_line_are_run",
        "fast-channels --version*": "tests/docs/test_blocks.py::test_commands_of_one_line_are_run",
        "fast-channels doctor*": "tests/docs/test_blocks.py::test_the_first_look_at_a_new_server",
    },
    "docs/guide/channel-layers.md": {
        "layers.py": "tests/docs/test_channel_layers.py::running_application",
        "main.py": "tests/docs/test_channel_layers.py::running_application",
        "consumer.py": "tests/docs/test_channel_layers.py::running_application",
        "worker.py": "tests/docs/test_channel_layers.py::test_a_worker_answers_the_one_connection_that_it_is_told_of",
    },
    "docs/guide/command-line.md": {
        "shop/layers.py": f"{COMMAND_LINE}::test_every_command_prints_what_the_page_shows",
        "fast-channels*": f"{COMMAND_LINE}::test_every_command_prints_what_the_page_shows",
        "text: *": f"{COMMAND_LINE}::test_every_command_prints_what_the_page_shows",
    },
    "docs/guide/sync.md": {"chat/*.py": "tests/docs/test_sync.py"},
    "docs/guide/testing.md": {
        "pyproject.toml": "tests/docs/test_testing.py::test_the_suite_of_the_guide_passes",
        "*.py": "tests/docs/test_testing.py::test_the_suite_of_the_guide_passes",
    },
    "docs/guide/workers.md": {
        "shop/*.py": f"{WORKERS}::test_the_workers_handle_what_the_page_sends",
        "fast-channels worker*": f"{WORKERS}::test_the_workers_handle_what_the_page_sends",
        "fast-channels dead-letters*": f"{WORKERS}::test_the_commands_for_dead_letters",
        "text: 2026-*": f"{WORKERS}::test_the_lines_of_the_log_are_those_of_the_page",
    },
    "docs/howto/nginx.md": {
        "portal/main.py": f"{DEPLOYING}::deployed",
        "*.conf": f"{DEPLOYING}::Front",
        "uvicorn portal.main:app*": f"{DEPLOYING}::deployed",
    },
    "docs/howto/scale.md": {
        "uvicorn portal.main:app*": f"{DEPLOYING}::test_the_workers_of_one_server_are_several_processes"
    },
    "docs/howto/shutdown.md": {
        "reconnect.js": "tests/docs/test_in_browser.py::test_a_page_comes_back_where_that_helps",
        "probes.yaml": "tests/docs/test_shutdown.py::test_the_probe_asks_what_the_page_answers",
    },
    "docs/howto/write-a-layer.md": {
        "measured.py": "tests/docs/test_write_a_layer.py::test_the_layers_of_the_page_pass_the_suite",
        "test_measured.py": "tests/docs/test_write_a_layer.py::test_the_layers_of_the_page_pass_the_suite",
        "*tiny.py": "tests/docs/test_write_a_layer.py::test_the_layers_of_the_page_pass_the_suite",
        "pytest*": "tests/docs/test_write_a_layer.py::test_the_layers_of_the_page_pass_the_suite",
        "test_mine.py": "tests/docs/test_write_a_layer.py::test_a_layer_that_is_only_begun_is_told_what_is_missing",
    },
    "docs/sandbox.md": {"make demo*": "tests/sandbox/test_demo.py"},
    "docs/topics/cluster.md": {
        "node.conf": f"{TOPOLOGIES}::test_the_layers_of_the_page_on_a_cluster_work_on_its_nodes"
    },
    "docs/topics/design.md": {"text: names, serializers*": "tests/test_house.py::test_imports_go_one_way"},
    "docs/topics/scale.md": {"text: P x*": "tests/benchmarks/test_scale.py"},
    "docs/topics/security.md": {
        "redis-cli ACL SETUSER shop-*": "tests/docs/test_security.py",
        "redis-cli -p 26379*": "tests/docs/test_security.py::test_the_user_of_a_sentinel_can_ask_for_the_master",
        "python -c*": "tests/docs/test_blocks.py::test_commands_of_one_line_are_run",
    },
    "docs/topics/sentinel.md": {"*.conf": f"{TOPOLOGIES}::test_the_layers_of_the_page_on_sentinel_work_on_its_servers"},
    "docs/topics/standalone.md": {
        "server.conf": f"{TOPOLOGIES}::test_the_server_of_the_page_on_one_server_can_keep_what_the_queue_promises"
    },
    "docs/topics/way.md": {
        "text: a sender*": "tests/docs/test_topics.py::test_the_files_on_the_way_exist",
        "text: asgi|*": "tests/docs/test_topics.py::test_every_key_is_in_the_list",
        "redis-cli ACL*": "tests/docs/test_topics.py::restricted",
    },
    "docs/tutorial/1-consumer.md": {
        "demo/page.html": "tests/docs/test_in_browser.py::test_ann_and_bob_meet_in_a_room",
        "demo/*": f"{TUTORIAL}::test_part_1_a_consumer_answers",
        "uvicorn*": f"{TUTORIAL}::test_part_1_a_consumer_answers",
    },
    "docs/tutorial/2-rooms.md": {
        "demo/*": f"{TUTORIAL}::test_part_2_who_is_in_a_room_hears_it",
        "uvicorn*": f"{TUTORIAL}::test_part_2_who_is_in_a_room_hears_it",
    },
    "docs/tutorial/3-processes.md": {
        "demo/*": f"{TUTORIAL}::test_part_3_two_processes_are_one_room",
        "uvicorn*": f"{TUTORIAL}::test_part_3_two_processes_are_one_room",
    },
    "docs/tutorial/4-notifications.md": {
        "demo/*": f"{TUTORIAL}::test_part_4_an_endpoint_and_a_script_notify_everybody",
        "uvicorn*": f"{TUTORIAL}::test_part_4_an_endpoint_and_a_script_notify_everybody",
        "curl*": f"{TUTORIAL}::test_part_4_an_endpoint_and_a_script_notify_everybody",
        "python -m demo.notify*": f"{TUTORIAL}::test_part_4_an_endpoint_and_a_script_notify_everybody",
    },
    "docs/tutorial/5-jobs.md": {
        "demo/*": f"{TUTORIAL}::test_part_5_a_job_is_done_though_its_worker_is_killed",
        "uvicorn*": f"{TUTORIAL}::test_part_5_a_job_is_done_though_its_worker_is_killed",
        "fast-channels worker*": f"{TUTORIAL}::test_part_5_a_job_is_done_though_its_worker_is_killed",
    },
    "docs/tutorial/6-reliable.md": {
        "demo/*": f"{TUTORIAL}::test_part_6_what_was_said_while_the_server_was_away_arrives",
        "uvicorn*": f"{TUTORIAL}::test_part_6_what_was_said_while_the_server_was_away_arrives",
    },
    "docs/tutorial/7-tests.md": {
        "pytest.ini": f"{TUTORIAL}::test_part_7_the_suite_passes",
        "test_demo.py": f"{TUTORIAL}::test_part_7_the_suite_passes",
        "pytest": f"{TUTORIAL}::test_part_7_the_suite_passes",
    },
}
"""For each page, what claims its code: a test, a helper of tests, or all tests of a file.

Files that are examples of the repository are claimed by the tests of that example, wherever they stand.
"""

NOT_RUN = {
    "pip install*": "it would change the environment; that what it names is installed here is checked",
    "docker run*": "there is no docker in the tests; the options of the server are tried on one that is",
    "console: $ valkey-cli --cluster create*": "no wheel has valkey-cli; the tests make a Cluster in the same way",
}
"""What no test runs, and why."""
